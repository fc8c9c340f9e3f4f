'use strict';

const fs = require('fs');

// One JSON object a line; the only writer of standard output. Written at once, so that nothing is lost at exit.
function emit(event, fields) {
  const kept = Object.entries(fields).filter(([ , value ]) => value !== undefined && value !== null && value !== '');
  fs.writeSync(1, JSON.stringify({ event, ...Object.fromEntries(kept) }) + '\n');
}

// Adds class, code (the broker's response code, or -1) and message.
function failure(event, error, fields) {
  emit(event, { ...fields, class: error.name, code: Number.isInteger(error.code) ? error.code : -1, message: error.message });
}

// The client's log, on standard error; its chatter is left out.
const logger = {
  debug() {},
  info() {},
  warn: (...args) => console.error(...args),
  error: (...args) => console.error(...args),
};

module.exports = { emit, failure, logger };
