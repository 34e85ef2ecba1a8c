/**
 * A real shortage of file descriptors: uploads fail cleanly, predictions go on, and afterwards everything
 * works.
 */
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { verifyStore } from '../src/store/verify.js'
import { compileProgram, ONE_FAMILY, Program } from './service-process.js'
import { packBytes, pngImage } from './service-rig.js'

/** More than the service opens by itself, and soon used up by connections. */
const OPEN_FILES = 96

const dir = t.testdir()
const data = join(dir, 'data')
const cli = await compileProgram(dir)
const flags = [...ONE_FAMILY, '--port', '0', '--threads', '1', '--bank-memory', '64MiB', '--data', data]
const image = await pngImage(1)

/** One kept connection, which has its descriptor already. */
const agent = new Agent({ keepAlive: true, maxSockets: 1 })
t.teardown(() => agent.destroy())

async function send(
  url: string,
  method: string,
  path: string,
  type = '',
  body: Uint8Array = new Uint8Array(),
) {
  const headers = { 'content-length': body.length, ...(type && { 'content-type': type }) }
  const sent = request(`${url}${path}`, { method, agent, headers })
  sent.end(body)
  const [response] = await once(sent, 'response')
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return { status: response.statusCode as number, retryAfter: response.headers['retry-after'], text }
}

const put = (url: string, domain: string, pack: Uint8Array) =>
  send(url, 'PUT', `/v1/domains/${domain}`, 'application/octet-stream', pack)
const predict = (url: string, domain: string) =>
  send(url, 'POST', `/v1/domains/${domain}/predict`, 'image/png', image)

/** Opens idle connections until the service has no descriptor left. */
async function exhaust(url: string): Promise<Socket[]> {
  let refused = false
  const sockets: Socket[] = []
  while (!refused) {
    if (sockets.length > 4 * OPEN_FILES) throw new Error('the service takes more connections than it can')
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.once('close', () => {
      refused = true
    })
    socket.resume()
    sockets.push(socket)
    await Promise.race([once(socket, 'connect'), once(socket, 'close')])
    // When the kept connection is answered, the service has tried to accept the new one.
    await send(url, 'GET', '/livez')
  }
  return sockets
}

t.test('out of file descriptors', async (t) => {
  const program = new Program(cli, ['serve', ...flags], { openFiles: OPEN_FILES })
  const url = await program.url()
  t.equal((await put(url, 'shop', packBytes(1, 'shop'))).status, 201)
  const before = (await predict(url, 'shop')).text
  const listing = (await send(url, 'GET', '/v1/domains')).text

  const sockets = await exhaust(url)
  for (const domain of ['late', 'shop']) {
    const refused = await put(url, domain, packBytes(2, 'late'))
    t.match(refused, { status: 500, retryAfter: '1', text: /"code":"store_failed"/ }, domain)
    t.match(refused.text, /out of file descriptors: try again.*Nothing has changed/)
    t.equal((await predict(url, 'shop')).text, before, 'a resident domain answers as before')
  }
  const cold = await predict(url, 'eurosat')
  t.match(cold, { status: 503, text: /"code":"domain_failed"/ }, 'a cold one cannot be read')
  t.match(cold.text, /out of file descriptors: try again/)
  t.equal((await send(url, 'GET', '/readyz')).status, 200)
  t.equal((await send(url, 'GET', '/v1/domains')).text, listing, 'nothing has changed')

  for (const socket of sockets) socket.destroy()
  let late = await put(url, 'late', packBytes(2, 'late'))
  // The service may still be closing its ends.
  while (late.status === 500) late = await put(url, 'late', packBytes(2, 'late'))
  t.equal(late.status, 201, late.text)
  t.equal((await predict(url, 'eurosat')).status, 200, 'the failure is not remembered')
  t.equal((await fetch(`${url}/livez`)).status, 200, 'new connections are taken')
  program.kill('SIGTERM')
  t.match(await program.exit, { code: 0, signal: null, err: '' })
  t.match(await verifyStore(data), { domains: 2, blobs: 2, problems: [], notes: [] })
})
