'use strict';

const crypto = require('crypto');
const zlib = require('zlib');

// A label, then, when a size is asked for, '|' and filling up to that size.
function make(label, size, compressible) {
  if (size <= label.length) {
    return Buffer.from(label);
  }
  const body = compressible ? Buffer.alloc(size, 'abcdefghijklmnop') : crypto.randomBytes(size);
  body.write(`${label}|`);
  return body;
}

function label(body) {
  const head = body.subarray(0, 256);
  const end = head.indexOf('|');
  return head.subarray(0, end < 0 ? head.length : end).toString();
}

// CRC-32 as zlib has it; Node offers it only in later versions.
const TABLE = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) {
    n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
  }
  return n >>> 0;
});

function crc(body) {
  if (zlib.crc32) {
    return zlib.crc32(body);
  }
  let sum = 0xffffffff;
  for (const byte of body) {
    sum = TABLE[(sum ^ byte) & 0xff] ^ sum >>> 8;
  }
  return (sum ^ 0xffffffff) >>> 0;
}

module.exports = { make, label, crc };
