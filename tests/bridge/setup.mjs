// A Redis and a gateway with a bridge, both of the test's own, on ports that were free a moment ago.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const require = createRequire(join(process.env.TOLLGATE_MODULES, 'package.json'))
export const { Redis, errors } = require('@upstash/redis')

export const GENERAL = 'general-token-of-the-test'
export const LIMITED = 'limited-token-of-the-test'
export const GATEWAY = 'gateway-token-of-the-test'
export const PREFIX = 'tg:{acme:'
const PATIENCE_MS = 20_000

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise(resolve => server.close(resolve))
  return port
}

export async function until(what, done) {
  for (const start = Date.now(); !(await done()); ) {
    if (Date.now() - start > PATIENCE_MS) throw new Error(`it does not happen: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const connects = port =>
  new Promise(resolve => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(socket.destroy() && true))
    socket.on('error', () => resolve(false))
  })

const sha256 = text => createHash('sha256').update(text).digest('hex')

function start(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = new Promise(resolve => child.once('exit', resolve))
  return async () => {
    child.kill('SIGKILL')
    await ended
  }
}

export async function startRedis(port) {
  const user = (name, password, rights) => ['--user', name, 'on', `>${password}`, ...rights]
  const stop = start('redis-server', [
    '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', tmpdir(),
    ...user('app', 'app-password', ['~*', '&*', '+@all']), ...user('limited', 'limited-password', ['~own:*', '+get', '+set']),
  ])
  await until('redis-server listens', () => connects(port))
  return stop
}

/** A gateway whose bridge speaks to the Redis at this port. */
export async function startBridge(redisPort, timeout = '5s') {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-bridge-'))
  const [port, clients] = [await freePort(), await freePort()]
  const file = join(folder, 'tollgate.yaml')
  writeFileSync(file, `
server: { listen: "127.0.0.1:${clients}", workers: 1 }
redis_bridge:
  listen: "127.0.0.1:${port}"
  timeout: ${timeout}
  redis: { url: "redis://127.0.0.1:${redisPort}" }
  general_redis: { url: "redis://127.0.0.1:${redisPort}", shared_with_limits: true }
  tokens:
    - { name: app, sha256: ${sha256(GENERAL)}, kind: general, user: app, password: app-password }
    - { name: limited, sha256: ${sha256(LIMITED)}, kind: general, user: limited, password: limited-password }
    - { name: edge, sha256: ${sha256(GATEWAY)}, kind: gateway, prefix: "${PREFIX}" }
`)
  const kill = start(process.env.TOLLGATE_BIN, ['serve', '--config', file])
  await until('the bridge listens', () => connects(port))
  const url = `http://127.0.0.1:${port}`
  const stop = async () => {
    await kill()
    rmSync(folder, { recursive: true })
  }
  /** Posts a body, as it is or as JSON, and answers with the status and what came back. */
  const post = async (path, body, token = GENERAL, headers = {}) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const authorization = token === null ? {} : { authorization: `Bearer ${token}` }
    const response = await fetch(url + path, { method: 'POST', headers: { ...authorization, ...headers }, body: text })
    return [response.status, await response.json()]
  }
  return { url, stop, post }
}
