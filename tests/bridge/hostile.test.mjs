// Requests that nobody should send, a token that leaked, and a Redis that is gone, silent or something else.
import assert from 'node:assert/strict'
import net from 'node:net'
import { after, before, test } from 'node:test'
import { readFileSync } from 'node:fs'
import { GATEWAY, GENERAL, PREFIX, freePort, startBridge, startRedis } from './setup.mjs'

let bridge, stopRedis
const folder = new URL('../../core/src/store/scripts/', import.meta.url)
const script = ['clock', 'fixed_window'].map(name => readFileSync(new URL(`${name}.lua`, folder), 'utf8')).join('')
const ARGUMENTS = ['charge', '61000', '10', '60000000', '1', '0']

before(async () => {
  const port = await freePort()
  stopRedis = await startRedis(port)
  bridge = await startBridge(port)
})
after(async () => {
  await bridge?.stop()
  await stopRedis?.()
})

test('without its token nobody is served', async () => {
  const refused = [401, { error: 'WRONGPASS send a token of this bridge as `Authorization: Bearer …`' }]
  assert.deepEqual(await bridge.post('/', ['PING'], 'wrong'), refused)
  assert.deepEqual(await bridge.post('/', ['PING'], null), refused)
  assert.deepEqual(await bridge.post(`/?_token=${GENERAL}`, ['PING'], null), refused)
  const inUrl = [400, { error: 'ERR a token is sent in the header `Authorization`, never in a URL' }]
  assert.deepEqual(await bridge.post(`/get/a?_token=${GENERAL}`, ''), inUrl)
})

test('a command in a path is one in a body', async () => {
  assert.deepEqual(await bridge.post('/set/path%20key?EX=100', 'a value'), [200, { result: 'OK' }])
  const got = await fetch(`${bridge.url}/get/path%20key`, {
    headers: { authorization: `Bearer ${GENERAL}`, 'upstash-encoding': 'base64' },
  })
  assert.deepEqual([got.status, await got.json()], [200, { result: 'YSB2YWx1ZQ==' }])
})

test('what is no command is refused in the form of the protocol', async () => {
  const noCommand = [400, { error: 'ERR a command is an array of texts and numbers, its name first' }]
  for (const body of [{}, [], [1], ['GET', null], ['GET', ['a']], [['GET', 'a']], 'null']) {
    assert.deepEqual(await bridge.post('/', body), noCommand, JSON.stringify(body))
  }
  assert.deepEqual(await bridge.post('/', '["GET"'), [400, { error: 'ERR the body is not JSON' }])
  assert.deepEqual(await bridge.post('/pipeline', {}), [400, { error: 'ERR a pipeline is an array of commands' }])
  assert.deepEqual(await bridge.post('/pipeline', [['PING'], 7]), noCommand)
  const many = Array.from({ length: 1001 }, () => ['PING'])
  assert.deepEqual(await bridge.post('/pipeline', many), [400, { error: 'ERR a pipeline has at most 1000 commands' }])
  const long = [413, { error: 'ERR a body has at most 1048576 bytes' }]
  assert.deepEqual(await bridge.post('/', ' '.repeat((1 << 20) + 1)), long)
  assert.deepEqual(await bridge.post('/', ['INCRBY', 'number', 5]), [200, { result: 5 }])
})

test('commands that others would suffer from are refused to every token', async () => {
  for (const name of ['BLPOP', 'SUBSCRIBE', 'MONITOR', 'WAIT', 'SELECT', 'AUTH', 'HELLO', 'CLIENT', 'CONFIG', 'SHUTDOWN', 'MULTI']) {
    const [status, { error }] = await bridge.post('/', [name, 'a', '0'])
    assert.equal(status, 403, name)
    assert.match(error, new RegExp(`^NOPERM the bridge has no \`${name.toLowerCase()}\``))
  }
  const [status, answers] = await bridge.post('/pipeline', [['SET', 'k', 'v'], ['SELECT', '1'], ['GET', 'k']])
  assert.deepEqual([status, answers[0], answers[2]], [200, { result: 'OK' }, { result: 'v' }])
  assert.match(answers[1].error, /^NOPERM/)
  assert.equal((await bridge.post('/multi-exec', [['SET', 'k', 'w'], ['SELECT', '1']]))[0], 403)
  assert.deepEqual(await bridge.post('/', ['GET', 'k']), [200, { result: 'v' }])
})

test('a transaction runs as a whole or not at all', async () => {
  const [status, { error }] = await bridge.post('/multi-exec', [['SET', 't', 'x'], ['GET']])
  assert.deepEqual([status, error.startsWith('EXECABORT Transaction discarded because of: ERR wrong number')], [400, true])
  assert.deepEqual(await bridge.post('/', ['GET', 't']), [200, { result: null }])
  const [, answers] = await bridge.post('/multi-exec', [['SET', 't', 'x'], ['LPUSH', 't', 'y'], ['GET', 't']])
  assert.deepEqual([answers[0], answers[2]], [{ result: 'OK' }, { result: 'x' }])
  assert.match(answers[1].error, /^WRONGTYPE/)
})

test('a leaked token of a gateway runs the registered scripts on its prefix', async () => {
  const own = command => bridge.post('/', command, GATEWAY)
  const [status, { result: sha }] = await own(['SCRIPT', 'LOAD', script])
  assert.equal(status, 200)
  assert.equal((await own(['EVALSHA', sha, '1', `${PREFIX}s}:l`, ...ARGUMENTS]))[0], 200)
  for (const command of [
    ['KEYS', '*'], ['GET', `${PREFIX}s}:l`], ['SCRIPT', 'FLUSH'], ['SCRIPT', 'LOAD', 'return 1'],
    ['EVAL', "return redis.call('KEYS', '*')", '1', `${PREFIX}s}:l`], ['EVAL', `${script} `, '1', `${PREFIX}s}:l`],
    ['EVALSHA', sha, '1', 'tg:{other:s}:l', ...ARGUMENTS], ['EVALSHA', sha, '2', `${PREFIX}s}:l`, 'k'],
    ['EVALSHA', sha, '0', `${PREFIX}s}:l`], ['EVALSHA', sha, '01', `${PREFIX}s}:l`], ['FCALL', 'f', '0'],
  ]) {
    const [status, { error }] = await own(command)
    assert.equal(status, 403, command.join(' '))
    assert.match(error, /^NOPERM this token runs the gateway's own scripts/)
  }
})

test('Redis may go and come back', async () => {
  const port = await freePort()
  const bridge = await startBridge(port, '500ms')
  const unreachable = [503, { error: 'ERR Redis cannot be reached; nothing was sent to it' }]
  assert.deepEqual(await bridge.post('/', ['PING']), unreachable)
  let stop = await startRedis(port)
  assert.deepEqual(await bridge.post('/', ['PING']), [200, { result: 'PONG' }])
  await stop()
  assert.equal((await bridge.post('/', ['PING']))[0], 503)
  assert.deepEqual(await bridge.post('/', ['PING']), unreachable)
  stop = await startRedis(port)
  assert.deepEqual(await bridge.post('/', ['PING']), [200, { result: 'PONG' }])
  await stop()
  await bridge.stop()
})

test('what is silent or no Redis keeps nobody waiting', async () => {
  for (const [answer, error] of [
    [null, 'ERR Redis did not answer within 500ms; what was asked for may have been done'],
    ['HTTP/1.1 400 Bad Request\r\n\r\n', 'ERR Redis answered in a way that is not its protocol'],
  ]) {
    const server = net.createServer(socket => socket.on('error', () => {}).on('data', () => answer && socket.write(answer)))
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
    const bridge = await startBridge(server.address().port, '500ms')
    const asked = Array.from({ length: 5 }, () => bridge.post('/', ['PING']))
    for (const answered of await Promise.all(asked)) assert.deepEqual(answered, [503, { error }])
    await bridge.stop()
    server.close()
  }
})
