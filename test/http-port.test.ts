/** The address to listen on is checked early, and an error says what is wrong and what to do. */
import dns from 'node:dns'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { addressError, checkAddress, listen } from '../src/http/connections/port.js'
import { testApp } from './http-app.js'

const HOST = '127.0.0.1'
const coded = (code: string) => Object.assign(new Error(`listen ${code}`), { code })

t.test('an address in use is refused; a free one is accepted, and is free again afterwards', async (t) => {
  const holder = createServer().listen(0, HOST)
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  await t.rejects(checkAddress(HOST, port), {
    message: new RegExp(`^Port ${port} of 127\\.0\\.0\\.1 is in use by another process\\..* --port `),
    cause: { code: 'EADDRINUSE' },
  })
  holder.close()
  await once(holder, 'close')
  await checkAddress(HOST, port)
  await checkAddress(HOST, port)
  const next = createServer().listen(port, HOST)
  await once(next, 'listening')
  t.teardown(() => next.close())
  await checkAddress(HOST, 0)
})

t.test('an address of another machine is refused', async (t) => {
  // Of TEST-NET-1 (RFC 5737), which no machine has.
  await t.rejects(checkAddress('192.0.2.1', 0), {
    message: /^This machine has no address 192\.0\.2\.1\. Choose one it has with --host/,
    cause: { code: 'EADDRNOTAVAIL' },
  })
})

t.test('localhost is one address, also where the name has several', async (t) => {
  // Fastify asks this function for all addresses of the name, to listen on each.
  const { lookup } = dns
  const both = [HOST, '127.0.0.2'].map((address) => ({ address, family: 4 }))
  const value = (...asked: [string, { all?: boolean }, (error: null, found: object[]) => void]) => {
    if (asked[1].all === true) asked[2](null, both)
    else Reflect.apply(lookup, dns, asked)
  }
  t.intercept(dns, 'lookup', { value })
  const { app } = await testApp(t)
  await listen(app, 'localhost', 0)
  const { port } = app.server.address() as AddressInfo
  t.same(app.addresses(), [{ address: HOST, family: 'IPv4', port }])
})

t.test('listening where another process listens says so', async (t) => {
  const holder = createServer().listen(0, HOST)
  await once(holder, 'listening')
  t.teardown(() => holder.close())
  const { app } = await testApp(t)
  const { port } = holder.address() as AddressInfo
  await t.rejects(listen(app, HOST, port), { message: /is in use/, cause: { code: 'EADDRINUSE' } })
})

t.test('each failure to listen has its remedy, and keeps its cause', (t) => {
  const cases: [string, RegExp][] = [
    ['EADDRINUSE', /^Port 80 of there is in use .* --port \(0 takes a free one\)\.$/],
    ['EACCES', /^This user may not listen on port 80: .* --port\.$/],
    ['EADDRNOTAVAIL', /^This machine has no address there\. .* --host/],
    ['ENOTFOUND', /^This machine has no address there\. .* --host/],
    ['EAI_AGAIN', /^This machine has no address there\. .* --host/],
  ]
  for (const [code, message] of cases) {
    const cause = coded(code)
    const told = addressError(cause, 'there', 80) as Error
    t.match(told.message, message, code)
    t.equal(told.cause, cause, code)
  }
  t.end()
})

t.test('any other error stays what it is', (t) => {
  for (const error of [coded('EMFILE'), new Error('no code'), null, 'text'])
    t.equal(addressError(error, HOST, 80), error)
  t.end()
})
