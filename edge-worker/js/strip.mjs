// Takes the names of functions out of a built Worker, an eighth of it, which worker-build always keeps.
//
//   node strip.mjs FILE

import { readFileSync, writeFileSync } from "node:fs";

const HEADER_BYTES = 8;
const CUSTOM = 0;

const file = process.argv[2];
const wasm = readFileSync(file);
const kept = [wasm.subarray(0, HEADER_BYTES)];
for (let start = HEADER_BYTES; start < wasm.length; ) {
  const [size, body] = unsigned(start + 1);
  const end = body + size;
  if (wasm[start] !== CUSTOM || nameAt(body) !== "name") {
    kept.push(wasm.subarray(start, end));
  }
  start = end;
}
writeFileSync(file, Buffer.concat(kept));

function nameAt(at) {
  const [length, begin] = unsigned(at);
  return wasm.toString("latin1", begin, begin + length);
}

/** A LEB128 number and where it ends. */
function unsigned(at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = wasm[at++];
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) {
      return [value, at];
    }
  }
}
