/** Memory that is given back at once, and what is left to the collector. */
import { markAsUntransferable } from 'node:worker_threads'
import t from 'tap'
import { free } from '../src/bytes/free.js'

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
