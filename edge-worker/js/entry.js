// The Worker's entry: moves what the platform has to core and back, and does the I/O that core asks for.
//
// A request's head crosses into wasm as one text and comes back as one; its native objects and both bodies stay here.
// Texts are lines: names and values of header fields can hold no line break. See src/cloudflare/call.rs for their order.

import * as core from "./index_bg.js";
import module from "./index.wasm";
$SNIPPET_JS_IMPORTS

const instance = new WebAssembly.Instance(module, { "./index_bg.js": core, $SNIPPET_WASM_IMPORTS });
core.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start?.();

/** Bytes that are moved at once where a body must be counted. */
const CHUNK_BYTES = 65536;

/** Imported keys that are kept; more than any policy and its issuers have at a time. */
const IMPORTED_MAX = 256;

/** Redirects of a key set that are followed, all with the scheme of the first address. */
const REDIRECTS_MAX = 3;

/** How long the platform keeps a key set, so that isolates of one place share it. Core's own `cooldown` is as long. */
const CACHE_SECONDS = 30;

/** How often a request looks whether the key set came that another one fetches. */
const LOOK_MS = 5;

const HASHES = { 256: "SHA-256", 384: "SHA-384", 512: "SHA-512" };

/** By algorithm and key. They are values, which no request owns. */
const imported = new Map();

/** Key sets on their way, by URL: plain data, since a promise belongs to the request that made it. */
const flights = new Map();

/** What core needs of randomness: the key of its hashes, and where its identifiers start from. */
const RANDOM_BYTES = 32;

/** When core next wants to be asked for work that no request asks for; undefined until the gateway was started. */
let backgroundAtMs;

export default {
  async fetch(request, env, ctx) {
    if (backgroundAtMs === undefined) {
      // Not at the top of the module: there Workers have neither a clock nor randomness.
      core.start(env, crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)));
      backgroundAtMs = 0;
    }
    const ended = Promise.withResolvers();
    // The exchange ends with the body of the reply, or with a client that leaves before there is one.
    ctx.waitUntil(ended.promise);
    if (Date.now() >= backgroundAtMs) {
      ctx.waitUntil(background(ctx));
    }
    try {
      return await answer(request, ctx, ended.resolve);
    } catch (error) {
      ended.resolve();
      throw error;
    } finally {
      const errand = core.errand();
      if (errand !== undefined) {
        ctx.waitUntil(run(errand));
      }
    }
  },
};

async function answer(request, ctx, ended) {
  const upload = Upload.of(request);
  const call = new core.Call(
    `${request.method}\n${request.url}\n${upload.declared}\n${request.headers.get("cf-connecting-ip") ?? ""}${lines(request.headers)}`,
  );
  const finish = (end, bytes) => {
    call.finish(end, bytes);
    ended();
  };
  let upstream;
  // Each does its I/O and returns how core is told of it, which nobody does when the client has left.
  const steps = {
    async verify([, algorithm, key]) {
      const valid = await verify(call, algorithm, key);
      return () => call.verified(valid);
    },
    async keys([, url]) {
      const { body, failure } = await keySet(url, ctx);
      return () => call.fetched(body, failure ?? "");
    },
    async charge(step) {
      const { status, body, failure } = await post(step);
      return () => call.charged(status ?? 0, body, failure ?? "");
    },
    async forward(step) {
      upstream = await attempt(request, upload, step);
      return () =>
        upstream.failure ? call.failed(upstream.failure) : call.responded(upstream.status, upstream.head);
    },
  };
  let step = call.step().split("\n");
  while (step[0] in steps) {
    const took = await steps[step[0]](step);
    if (request.signal.aborted) {
      call.leave();
      ended();
      throw request.signal.reason;
    }
    step = took().split("\n");
  }
  return reply(request, call, step, upstream?.response, finish);
}

/** Whether the signature that `call` asks about is right. */
async function verify(call, algorithm, id) {
  const name = `${algorithm} ${id}`;
  try {
    let key = imported.get(name);
    if (key === undefined) {
      const jwk = JSON.parse(call.key());
      key = await crypto.subtle.importKey("jwk", jwk, parameters(algorithm, jwk.crv), false, ["verify"]);
      if (imported.size >= IMPORTED_MAX) {
        imported.delete(imported.keys().next().value);
      }
      imported.set(name, key);
    }
    return await crypto.subtle.verify(parameters(algorithm), key, call.signature(), call.message());
  } catch {
    // A key that makes no sense, such as a point that is not on its curve, verifies nothing.
    return false;
  }
}

function parameters(algorithm, namedCurve) {
  const hash = HASHES[algorithm.slice(2)];
  switch (algorithm.slice(0, 2)) {
    case "HS":
      return { name: "HMAC", hash };
    case "RS":
      return { name: "RSASSA-PKCS1-v1_5", hash };
    case "PS":
      return { name: "RSA-PSS", hash, saltLength: Number(algorithm.slice(2)) / 8 };
    case "ES":
      return { name: "ECDSA", hash, namedCurve };
    default:
      return { name: "Ed25519" };
  }
}

/** The key set at `url`, from the fetch that is under way or from a new one: `{ body }` or `{ failure }`. */
async function keySet(url, ctx) {
  let flight = flights.get(url);
  if (flight === undefined || Date.now() >= flight.lostAtMs) {
    flight = { lostAtMs: Date.now() + core.key_set_timeout_ms(), outcome: undefined };
    flights.set(url, flight);
    const landed = land(flight, url);
    // It goes on when the client that needs it first has left.
    ctx.waitUntil(landed);
    await landed;
  }
  while (flight.outcome === undefined && Date.now() < flight.lostAtMs) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return flight.outcome ?? { failure: "lost" };
}

async function land(flight, url) {
  let outcome;
  try {
    outcome = await fetchKeySet(url, AbortSignal.timeout(core.key_set_timeout_ms()));
  } catch {
    outcome = { failure: "unreachable" };
  }
  flight.outcome = outcome;
  // Whoever comes from here on wants a newer answer than this one.
  if (flights.get(url) === flight) {
    flights.delete(url);
  }
}

async function fetchKeySet(url, signal) {
  let response;
  for (let redirects = 0; ; redirects += 1) {
    response = await fetch(url, {
      headers: { accept: "application/jwk-set+json, application/json" },
      redirect: "manual",
      signal,
      cf: { cacheEverything: true, cacheTtlByStatus: { "200-299": CACHE_SECONDS, "300-599": -1 } },
    });
    const next = response.status >= 300 && response.status < 400 ? response.headers.get("location") : null;
    if (next === null) {
      break;
    }
    await response.body?.cancel();
    const target = new URL(next, url);
    if (redirects === REDIRECTS_MAX || target.protocol !== new URL(url).protocol) {
      return { failure: "redirect" };
    }
    url = target.href;
  }
  if (response.status !== 200) {
    await response.body?.cancel();
    return { failure: String(response.status) };
  }
  return collected(response, core.max_key_set_bytes());
}

async function collected(response, bytesMax) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) {
      return { failure: "too_large" };
    }
    chunks.push(chunk);
  }
  return { body: new Uint8Array(await new Blob(chunks).arrayBuffer()) };
}

/** Posts calls to the shared store, once: `{ status, body }` or `{ failure }`. */
async function post([, url, token, timeoutMs, body]) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const signal = AbortSignal.timeout(Number(timeoutMs));
  try {
    const response = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal });
    return { status: response.status, ...(await collected(response, core.max_store_answer_bytes())) };
  } catch (error) {
    return { failure: error.name === "TimeoutError" ? "timeout" : "unreachable" };
  }
}

/** Sends what no request waits for. */
async function run(errand) {
  for (let step = errand.step(); step !== ""; step = errand.step()) {
    const { status, body, failure } = await post(step.split("\n"));
    errand.charged(status ?? 0, body, failure ?? "");
  }
}

/** Calls one upstream. Fetch never says whether anything was sent, so neither does this. */
async function attempt(request, upload, [, method, url, responseMs, backoffMs, bodyLimit, ...fields]) {
  if (backoffMs !== "0") {
    await new Promise((resolve) => setTimeout(resolve, Number(backoffMs)));
  }
  // One controller for both: a signal of a timeout would also cut off the body of an answer that came in time.
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(new DOMException("no answer in time", "TimeoutError")), Number(responseMs));
  const left = () => control.abort(request.signal.reason);
  request.signal.addEventListener("abort", left);
  try {
    const response = await fetch(url, {
      method,
      headers: headersOf(fields),
      body: upload.body(Number(bodyLimit)),
      redirect: "manual",
      signal: control.signal,
      // What is compressed stays so: it is passed on, not read.
      encodeResponseBody: "manual",
    });
    return { response, status: response.status, head: lines(response.headers) };
  } catch (error) {
    return { failure: upload.isTooLarge ? "too_large" : error.name === "TimeoutError" ? "timeout" : "reset" };
  } finally {
    clearTimeout(timer);
  }
}

function reply(request, call, [kind, status, ...fields], upstream, finish) {
  const init = { status: Number(status), headers: headersOf(fields), encodeBody: "manual" };
  if (kind === "core") {
    const body = call.body();
    finish("complete", body.length);
    return new Response(body.length > 0 ? body : null, init);
  }
  if (upstream.webSocket) {
    // Handed over natively: what is said from here on does not pass through this isolate, and nobody tells it the end.
    finish("complete", 0);
    return new Response(null, { ...init, webSocket: upstream.webSocket });
  }
  if (upstream.body === null || request.method === "HEAD") {
    finish("complete", 0);
    return new Response(null, init);
  }
  const declared = upstream.headers.get("content-length");
  const { body, moved } = declared === null ? counted(upstream.body) : piped(upstream.body, Number(declared));
  moved.then(
    (bytes) => finish("complete", bytes),
    (error) => finish(request.signal.aborted ? "aborted" : "upstream_reset", error.bytes ?? 0),
  );
  return new Response(body, init);
}

/**
 * Work that no request asks for, done under a request that came when it was due. Its promises belong to that request
 * and to no other.
 */
async function background(ctx) {
  const work = core.background();
  backgroundAtMs = core.background_at_ms();
  const errand = work.errand();
  await Promise.all([
    ...work.checks().map(check),
    ...work.key_sets().map((set) => refresh(set, ctx)),
    ...(errand === undefined ? [] : [run(errand)]),
  ]);
}

async function check(check) {
  let status = 0;
  try {
    const signal = AbortSignal.timeout(check.timeout_ms());
    const headers = { "user-agent": "tollgate-health-check" };
    const response = await fetch(check.url(), { headers, redirect: "manual", signal });
    status = response.status;
    await response.body?.cancel();
  } catch {
    // No answer is an answer.
  }
  check.done(status);
}

async function refresh(set, ctx) {
  const { body, failure } = await keySet(set.url(), ctx);
  set.fetched(body, failure ?? "");
}

/** A body whose length is known moves natively, without a copy, and keeps its Content-Length. */
function piped(source, length) {
  const { readable, writable } = new FixedLengthStream(length);
  return { body: readable, moved: source.pipeTo(writable).then(() => length) };
}

/** A body whose length is not known is counted on its way, in chunks as large as they come. */
function counted(source, limit = Infinity) {
  const { readable, writable } = new IdentityTransformStream();
  return { body: readable, moved: count(source.getReader({ mode: "byob" }), writable.getWriter(), limit) };
}

async function count(reader, writer, limit) {
  let buffer = new ArrayBuffer(CHUNK_BYTES);
  let bytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) {
        await writer.close();
        return bytes;
      }
      if (bytes + value.byteLength > limit) {
        throw new RangeError("the body is too large");
      }
      await writer.write(value);
      bytes += value.byteLength;
      buffer = value.buffer;
    }
  } catch (error) {
    // One side failed, so the other has no use for the rest.
    reader.cancel(error).catch(() => {});
    writer.abort(error).catch(() => {});
    throw Object.assign(error, { bytes });
  }
}

/** The body of a request, which is there once. */
class Upload {
  isTooLarge = false;

  static of(request) {
    const declared = request.body === null ? "0" : (request.headers.get("content-length") ?? "?");
    return new Upload(request.body, declared);
  }

  constructor(source, declared) {
    this.source = declared === "0" ? null : source;
    this.declared = declared;
  }

  /** Core knows a declared length and has checked it; any other body is cut off at `limit` bytes. */
  body(limit) {
    if (this.source === null || this.declared !== "?") {
      return this.source;
    }
    const { body, moved } = counted(this.source, limit);
    moved.catch((error) => {
      this.isTooLarge = error instanceof RangeError;
    });
    return body;
  }
}

function lines(headers) {
  let text = "";
  for (const [name, value] of headers) {
    text += `\n${name}\n${value}`;
  }
  return text;
}

function headersOf(fields) {
  const headers = new Headers();
  for (let index = 0; index + 1 < fields.length; index += 2) {
    headers.append(fields[index], fields[index + 1]);
  }
  return headers;
}
