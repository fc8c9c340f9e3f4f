// Test programs on the official Node client, for Bolide's end-to-end tests. README.md in the parent folder has the
// commands and the events; this file picks the command and turns results into exit codes.
'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const readline = require('readline');
const { Options, Usage } = require('./options');
const { emit, failure } = require('./events');

const commands = { send: require('./send'), push: require('./push') };

// Local offsets go below the home folder; the client reads its place when it is first required, by a command.
function keepHomeClean(options) {
  const given = options.text('state-dir');
  const dir = given || fs.mkdtempSync(path.join(os.tmpdir(), 'bolide-node-client'));
  fs.mkdirSync(dir, { recursive: true });
  process.env.HOME = dir;
  if (!given) {
    process.on('exit', () => fs.rmSync(dir, { recursive: true, force: true }));
  }
}

async function main() {
  const [ name, ...rest ] = process.argv.slice(2);
  const options = new Options(rest);
  const command = commands[name];
  if (!command) {
    throw new Usage('usage: client.js send|push --namesrv HOST:PORT ...');
  }
  keepHomeClean(options);
  const deadline = Date.now() + options.number('timeout-s', 60) * 1000;
  setTimeout(() => {
    emit('error', { class: 'Watchdog', code: -1, message: 'still running 15 s after its deadline' });
    process.exit(1);
  }, deadline - Date.now() + 15000).unref();
  const context = {
    namesrv: options.required('namesrv'),
    expired: () => Date.now() >= deadline,
    // The end of the input is not a command.
    onLine: control => readline.createInterface({ input: process.stdin }).on('line', line => control(line.trim())),
  };
  return await command(options, context) ? 0 : 1;
}

main().then(code => process.exit(code), error => {
  if (error instanceof Usage) {
    console.error(error.message);
    process.exit(2);
  }
  console.error(error);
  failure('error', error, {});
  process.exit(1);
});
