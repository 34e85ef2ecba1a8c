import t from 'tap'
import { copyBytes, SharedMemory } from '../src/engine/shared-memory.js'
import { Random } from './random.js'

const sizes = (spans: readonly Uint8Array[]) => spans.map(({ length }) => length)

t.test('freed bytes are used again, neighbours as one piece', (t) => {
  const memory = new SharedMemory(96)
  const [a, b, c] = [memory.take(32), memory.take(31), memory.take(32)]
  t.same([a, b, c].map(sizes), [[32], [32], [32]], 'whole words')
  t.throws(() => memory.take(1), {
    name: 'RangeError',
    message: "the bank's 96 bytes (--bank-memory) are in use",
  })
  memory.giveBack(c)
  memory.giveBack(a)
  memory.giveBack(b)
  t.same(sizes(memory.take(96)), [96])
  t.end()
})

t.test('memory that fits nowhere in one piece is scattered', (t) => {
  const memory = new SharedMemory(96)
  const pieces = [16, 16, 16, 16, 16, 16].map((bytes) => memory.take(bytes))
  for (const index of [0, 2, 4]) memory.giveBack(pieces[index]!)
  const spans = memory.take(40)
  t.same(sizes(spans), [16, 16, 8])
  const values = Uint8Array.from({ length: 40 }, (_, index) => index + 1)
  copyBytes([values], spans)
  const [head, rest] = [new Uint8Array(3), new Uint8Array(25)]
  copyBytes(spans, [head, rest], 12)
  t.same([...head, ...rest], [...values.subarray(12)])
  t.end()
})

t.test('pieces never overlap, and free memory is always enough', (t) => {
  const limit = 200_000_000
  const memory = new SharedMemory(limit)
  const random = new Random(5)
  const held: { mark: number; spans: Uint8Array[]; bytes: number }[] = []
  let used = 0
  let whole = true
  const ends = ({ spans }: (typeof held)[number]) =>
    spans.flatMap((span) => [span.subarray(0, 1), span.subarray(-1)])
  for (let mark = 1; mark <= 2000; mark++) {
    const bytes = 8 * Math.ceil(random.next() ** 4 * 5_000_000)
    while (used + bytes > limit) {
      const [piece] = held.splice(Math.floor(random.next() * held.length), 1)
      whole &&= ends(piece!).every(([value]) => value === piece!.mark % 251)
      memory.giveBack(piece!.spans)
      used -= piece!.bytes
    }
    const piece = { mark, bytes, spans: memory.take(bytes) }
    for (const end of ends(piece)) end.fill(mark % 251)
    held.push(piece)
    used += bytes
  }
  t.ok(whole, 'nothing was overwritten')
  t.ok(
    new Set(held.flatMap(({ spans }) => spans.map(({ buffer }) => buffer))).size <= 3,
    'in segments of 64 MiB',
  )
  t.end()
})
