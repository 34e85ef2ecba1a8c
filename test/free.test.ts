/** Memory that is given back at once, and what is left to the collector. */
import { markAsUntransferable } from 'node:worker_threads'
import sharp from 'sharp'
import t from 'tap'
import { free, freeForeign } from '../src/bytes/free.js'

t.test('whole buffers are freed, parts and shared memory are left alone', async (t) => {
  const [whole, large, shared] = [
    new Uint8Array(8),
    new Uint8Array(8),
    new Uint8Array(new SharedArrayBuffer(8)),
  ]
  const part = large.subarray(2)
  free([whole, part, shared])
  t.same(
    [whole, part, large, shared].map((array) => array.length),
    [0, 6, 8, 8],
  )
})

t.test('a buffer that cannot be transferred is left alone, and the others are freed', async (t) => {
  const [first, kept, last] = [new Uint8Array(8), new Uint8Array(8), new Uint8Array(8)]
  markAsUntransferable(kept.buffer)
  free([first, kept, last])
  free([kept])
  t.same(
    [first, kept, last].map((array) => array.length),
    [0, 8, 0],
  )
})

t.test('memory that native code handed over is free at once', async (t) => {
  const before = process.memoryUsage().external
  const pixels = await sharp({ create: { width: 4000, height: 2000, channels: 3, background: 'red' } })
    .raw()
    .toBuffer()
  t.equal(pixels.length, 24_000_000)
  t.ok(process.memoryUsage().external > before + 20_000_000)
  await freeForeign(pixels as Uint8Array<ArrayBuffer>)
  t.equal(pixels.length, 0, 'detached')
  // The memory's owner is told in another turn of the event loop.
  await new Promise((resolve) => setImmediate(resolve))
  t.ok(process.memoryUsage().external < before + 4_000_000)
})

t.test('memory that cannot be freed is left to the collector', async (t) => {
  const gone = new Uint8Array(8)
  free([gone])
  await t.resolves(freeForeign(gone))
})
