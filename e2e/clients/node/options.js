'use strict';

// A mistake on the command line: exit code 2.
class Usage extends Error {}

// The command line: "--name value", repeatable, and "--name" alone for a switch.
class Options {
  constructor(argv) {
    this.values = new Map();
    this.read = new Set();
    for (let i = 0; i < argv.length; i++) {
      if (!argv[i].startsWith('--')) {
        throw new Usage(`expected an option, found: ${argv[i]}`);
      }
      const name = argv[i].slice(2);
      const value = i + 1 < argv.length && !argv[i + 1].startsWith('--') ? argv[++i] : 'true';
      this.values.set(name, [ ...this.values.get(name) || [], value ]);
    }
  }

  all(name) {
    this.read.add(name);
    return this.values.get(name) || [];
  }

  text(name, otherwise) {
    const list = this.all(name);
    return list.length ? list[list.length - 1] : otherwise;
  }

  required(name) {
    const value = this.text(name);
    if (value === undefined) {
      throw new Usage(`--${name} is required`);
    }
    return value;
  }

  number(name, otherwise) {
    const value = this.text(name);
    if (value === undefined) {
      return otherwise;
    }
    if (!/^-?\d+$/.test(value)) {
      throw new Usage(`--${name} must be a whole number, not ${value}`);
    }
    return Number(value);
  }

  has(name) {
    return this.all(name).length > 0;
  }

  flag(name) {
    return this.text(name) === 'true';
  }

  choice(name, ...allowed) {
    const value = this.text(name, allowed[0]);
    if (!allowed.includes(value)) {
      throw new Usage(`--${name} must be one of ${allowed.join(', ')}, not ${value}`);
    }
    return value;
  }

  // Called when a command has read all it knows, before it acts.
  refuseUnknown() {
    for (const name of this.values.keys()) {
      if (!this.read.has(name)) {
        throw new Usage(`unknown option --${name}`);
      }
    }
  }
}

module.exports = { Options, Usage };
