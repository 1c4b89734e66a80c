// The official client, unchanged: what it sends is understood and what comes back is what it expects.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { GENERAL, LIMITED, Redis, errors, freePort, startBridge, startRedis } from './setup.mjs'

let bridge, redis, stopRedis
const client = token => new Redis({ url: bridge.url, token, retry: false, enableTelemetry: false })

before(async () => {
  const port = await freePort()
  stopRedis = await startRedis(port)
  bridge = await startBridge(port)
  redis = client(GENERAL)
})
after(async () => {
  await bridge?.stop()
  await stopRedis?.()
})

test('strings are set, got and counted', async () => {
  assert.equal(await redis.set('s:a', 'one', { ex: 100 }), 'OK')
  assert.equal(await redis.get('s:a'), 'one')
  assert.equal(await redis.get('s:none'), null)
  assert.deepEqual(await redis.mget('s:a', 's:none'), ['one', null])
  assert.equal(await redis.incr('s:n'), 1)
  assert.equal(await redis.expire('s:n', 50), 1)
  assert.equal(await redis.ttl('s:n'), 50)
  assert.equal(await redis.ping(), 'PONG')
})

test('hashes and sorted sets come back in their form', async () => {
  assert.equal(await redis.hset('h', { a: 1, b: 'two' }), 2)
  assert.deepEqual(await redis.hgetall('h'), { a: 1, b: 'two' })
  assert.equal(await redis.zadd('z', { score: 2, member: 'b' }, { score: 1, member: 'a' }), 2)
  assert.deepEqual(await redis.zrange('z', 0, -1), ['a', 'b'])
  assert.deepEqual(await redis.zrange('z', 0, -1, { withScores: true }), ['a', 1, 'b', 2])
})

test('values survive whatever they hold', async () => {
  const object = { text: 'quote " and \\ and \n', list: [1, null, true], nested: { deep: 'ü' } }
  await redis.set('v:json', object)
  assert.deepEqual(await redis.get('v:json'), object)
  for (const text of ['žluťoučký 🦀', '\u0000\u0001\u007f', 'OK', 'T0s=', 'null?', '']) {
    await redis.set('v:text', text)
    assert.equal(await redis.get('v:text'), text)
    assert.deepEqual(await redis.mget('v:text'), [text])
  }
})

test('scripts run by text and by digest', async () => {
  assert.deepEqual(await redis.eval('return {KEYS[1], ARGV[1], 7}', ['e:k'], ['v']), ['e:k', 'v', 7])
  const sha = await redis.scriptLoad("return redis.call('SET', KEYS[1], ARGV[1])")
  assert.equal(await redis.evalsha(sha, ['e:k'], ['v']), 'OK')
  assert.deepEqual(await redis.eval("return {redis.call('SET', KEYS[1], 'x')}", ['e:k'], []), ['OK'])
  await assert.rejects(redis.evalsha('0'.repeat(40), [], []), /NOSCRIPT No matching script/)
})

test('a transaction and a pipeline answer in order', async () => {
  assert.deepEqual(await redis.multi().set('m:a', 'x').incr('m:n').get('m:a').exec(), ['OK', 1, 'x'])
  assert.deepEqual(await redis.pipeline().set('p:a', 'y').incr('p:n').get('p:a').exec(), ['OK', 1, 'y'])
  await assert.rejects(redis.pipeline().incr('p:a').exec(), errors.UpstashError)
  assert.equal(await redis.get('p:n'), 1)
})

test('what is asked for at once is gathered in one pipeline', async () => {
  const automatic = new Redis({ url: bridge.url, token: GENERAL, enableAutoPipelining: true })
  const answers = await Promise.all([automatic.set('a:x', '1'), automatic.incr('a:n'), automatic.incr('a:n')])
  assert.deepEqual(answers, ['OK', 1, 2])
  assert.deepEqual(await Promise.all([automatic.get('a:x'), automatic.get('a:n')]), [1, 2])
})

test('what Redis says against a command is the error', async () => {
  await redis.set('w', 'text')
  const wrong = error => error instanceof errors.UpstashError && /WRONGTYPE Operation against a key/.test(error.message)
  await assert.rejects(redis.lpush('w', 'x'), wrong)
  await assert.rejects(redis.exec(['NOPE']), /ERR unknown command/)
})

test('a token is a user of Redis and no more', async () => {
  const limited = client(LIMITED)
  assert.equal(await limited.set('own:a', 'x'), 'OK')
  await assert.rejects(limited.set('other', 'x'), /NOPERM/)
  await assert.rejects(limited.del('own:a'), /NOPERM/)
  await assert.rejects(client('another').get('own:a'), /WRONGPASS/)
})
