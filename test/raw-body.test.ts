/** A raw body over a real connection: its bytes, its bounds, and the memory of the chunks it came in. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { systemClock } from '../src/concurrency/clock.js'
import { Collector } from '../src/http/bodies/collector.js'
import { Pace } from '../src/http/bodies/pace.js'
import { readRaw } from '../src/http/bodies/raw-body.js'

const LIMIT = 400_000

interface Read {
  body: Buffer | null
  error: { code?: string; message?: string } | null
  chunks: Buffer[]
}

/**
 * Sends a body to a server that reads it.
 *
 * @param announce says its length, instead of sending it in HTTP's chunks
 * @param first the bytes that are sent, if not all
 * @param leave ends the connection when two chunks have come
 */
async function read(
  t: Test,
  bytes: Buffer,
  { announce = true, first = bytes.length, leave = false } = {},
): Promise<Read> {
  const chunks: Buffer[] = []
  let done!: (read: Read) => void
  const result = new Promise<Read>((resolve) => {
    done = resolve
  })
  const server = createServer((incoming: IncomingMessage, answer) => {
    const routeOptions = { bodyLimit: LIMIT, config: { limitedBy: '--max-pack' } }
    const reading = readRaw(
      { headers: incoming.headers, routeOptions, caller: { id: 'one' } } as unknown as FastifyRequest,
      incoming,
      new Pace(0, systemClock),
    )
    incoming.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      if (leave && chunks.length === 2) sent.destroy()
    })
    reading
      .then(
        (body) => done({ body, error: null, chunks: [...chunks] }),
        (error: Error) => done({ body: null, error, chunks: [...chunks] }),
      )
      .finally(() => answer.end())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.closeAllConnections())
  t.teardown(() => server.close())
  const sent = request({
    port: (server.address() as AddressInfo).port,
    method: 'PUT',
    ...(announce && { headers: { 'content-length': bytes.length } }),
  })
  sent.on('error', () => {})
  if (first < bytes.length) sent.write(bytes.subarray(0, first))
  else sent.end(bytes)
  return result
}

const pattern = (length: number) => Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 7) % 251))
/** Except perhaps the last chunk, which may arrive after the reader has finished. */
const freed = ({ chunks }: Read) => chunks.slice(0, -1).every(({ length }) => length === 0)

t.test('a body of many chunks is whole, and its chunks are freed', async (t) => {
  for (const announce of [true, false]) {
    // Twice in a row, to show that memory which was freed and used again spoils nothing.
    for (const length of [LIMIT, LIMIT - 1]) {
      const bytes = pattern(length)
      const result = await read(t, bytes, { announce })
      t.ok(result.body?.equals(bytes))
      t.ok(result.chunks.length > 2)
      t.ok(freed(result), 'chunks are freed')
    }
  }
})

t.test('a body of one chunk', async (t) => {
  const { body, chunks } = await read(t, pattern(500))
  t.ok(body?.equals(pattern(500)))
  t.equal(chunks.length, 1)
  t.not(body?.buffer, chunks[0]!.buffer)
  t.equal(chunks[0]!.length, 500, "one chunk is left alone: it may be its sender's own")
})

t.test('a body that is too long is refused, before it arrives where that is known', async (t) => {
  const announced = await read(t, pattern(LIMIT + 1), { first: 1 })
  t.match(announced.error, { code: 'body_too_large', message: /400000 bytes \(--max-pack\)/ })
  const found = await read(t, pattern(LIMIT + 1), { announce: false })
  t.match(found.error, { code: 'body_too_large' })
  t.ok(freed(found), 'chunks are freed')
})

t.test('a client that leaves half-way', async (t) => {
  const left = await read(t, pattern(LIMIT), { first: LIMIT - 1, leave: true })
  t.match(left.error, { code: 'ECONNRESET' })
  t.ok(freed(left), 'chunks are freed')
})

t.test('a body that is shorter or longer than announced, or breaks, without a socket', async (t) => {
  const reading = (payload: Readable, length: number) => {
    const routeOptions = { bodyLimit: LIMIT, config: {} }
    const headers = { 'content-length': String(length) }
    return readRaw(
      { headers, routeOptions, caller: { id: 'one' } } as unknown as FastifyRequest,
      payload as IncomingMessage,
      new Pace(0, systemClock),
    )
  }
  await t.rejects(reading(Readable.from([pattern(3)]), 4), { code: 'malformed_request' })
  const broken = new Readable({ read() {} })
  const failing = reading(broken, 4)
  broken.destroy(new Error('broken'))
  await t.rejects(failing, { message: 'broken', statusCode: 400 })
})

t.test('a body is the same, whatever its chunks are', async () => {
  const body = fc
    .record({
      length: fc.integer({ min: 0, max: 300_000 }),
      sizes: fc.array(fc.oneof(fc.integer({ min: 300, max: 70_000 }), fc.constant(1)), { minLength: 1 }),
      announced: fc.boolean(),
    })
    .filter(({ sizes }) => sizes.some((size) => size > 1))
  await fc.assert(
    fc.asyncProperty(body, async ({ length, sizes, announced }) => {
      const bytes = pattern(length)
      const collector = new Collector(announced ? length : undefined)
      for (let at = 0, next = 0; at < length; next++) {
        const size = sizes[next % sizes.length]!
        collector.add(Buffer.from(bytes.subarray(at, at + size)))
        at += size
      }
      const joined = await collector.join('')
      return joined.equals(bytes) && collector.length === length
    }),
    { seed: 7, numRuns: 60 },
  )
})

t.test('a body in very small chunks is refused after the first few hundred', async (t) => {
  const refusedAfter = (size: number) => {
    const collector = new Collector(undefined)
    try {
      for (let count = 0; count < 5000; count++) collector.add(Buffer.alloc(size))
    } catch (error) {
      t.match(error, { code: 'malformed_request', message: /very small chunks/ })
      return collector.length / size
    }
    return null
  }
  t.equal(refusedAfter(1), 513)
  t.equal(refusedAfter(63), 513)
  t.equal(refusedAfter(64), null)
  const late = new Collector(undefined)
  late.add(Buffer.alloc(640_000))
  for (let count = 0; count < 9999; count++) late.add(Buffer.alloc(1))
  t.throws(() => {
    for (let count = 0; count < 200; count++) late.add(Buffer.alloc(1))
  })
})

t.test('memory is taken for what has come, not for what is announced', async (t) => {
  const announced = 16 * 2 ** 20
  const before = process.memoryUsage().arrayBuffers
  const collectors = Array.from({ length: 64 }, () => new Collector(announced))
  for (const collector of collectors) collector.add(Buffer.from('x'))
  const taken = process.memoryUsage().arrayBuffers - before
  t.ok(taken < 64 * 2 ** 20, `${taken} bytes`)
  for (const collector of collectors) collector.drop()

  const bytes = pattern(3_000_000)
  const collector = new Collector(bytes.length)
  for (let at = 0; at < bytes.length; at += 60_000)
    collector.add(Buffer.from(bytes.subarray(at, at + 60_000)))
  t.ok((await collector.join('')).equals(bytes))
})
