/** The pack writer and the bank row: round trips, refusals, buffers that can be transferred. */
import fc from 'fast-check'
import t from 'tap'
import { FacetError } from '../src/errors.js'
import { bankLayout } from '../src/manifest/layout.js'
import { type Design, designs, type FamilyManifest } from '../src/manifest/manifest.js'
import { decodeFloat16, encodeFloat16 } from '../src/bytes/float16.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { packRow } from '../src/engine/row.js'
import { writePack } from '../src/pack/write.js'
import { tinyFamily, tinyPack } from './families.js'

const family = tinyFamily()

function problemsOf(work: () => unknown): readonly string[] {
  try {
    work()
  } catch (error) {
    if (error instanceof FacetError && error.code === 'invalid_pack') return error.problems
    throw error
  }
  return []
}

/** Any pack of a family: some slots, some matrices, with or without a head. */
function anyPack(of: FamilyManifest, value: fc.Arbitrary<number>): fc.Arbitrary<Pack> {
  const floats = (length: number) =>
    fc.array(value, { minLength: length, maxLength: length }).map((list) => new Float32Array(list))
  const weights = of.slots.map((slot) =>
    fc.option(
      fc.record(
        {
          scale: floats(slot.out),
          bias: floats(slot.out),
          ...(slot.columns > 0 && { matrix: floats(slot.out * slot.columns) }),
        },
        { requiredKeys: ['scale', 'bias'] },
      ),
    ),
  )
  const label = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
    .filter((text) => text.trim() !== '')
  const head = fc.option(
    fc.uniqueArray(label, { minLength: 1, maxLength: 4 }).chain((labels) =>
      fc.record({
        labels: fc.constant(labels),
        weight: floats(labels.length * of.features),
        bias: floats(labels.length),
      }),
    ),
  )
  const channel = fc.double({ min: 0.01, max: 10, noNaN: true })
  const channels = fc.tuple(channel, channel, channel)
  const text = fc.string({ unit: 'binary' })
  const texts = fc.record(
    { name: text, description: text, license: text, created: text },
    { requiredKeys: [] },
  )
  const metrics = fc.option(fc.dictionary(text, fc.oneof(fc.integer(), text), { noNullPrototype: true }))
  return fc
    .tuple(fc.tuple(...weights), head, channels, channels, texts, metrics)
    .map(([slots, given, mean, std, rest, figures]) => ({
      family: of.fingerprint,
      design: of.design,
      activation: 'sigmoid' as const,
      labels: given?.labels ?? null,
      head: given && { classes: given.labels.length, weight: given.weight, bias: given.bias },
      mean,
      std,
      slots: new Map(of.slots.flatMap((slot, i) => (slots[i] ? [[slot.name, slots[i]] as const] : []))),
      ...rest,
      ...(figures === null ? {} : { metrics: figures }),
    }))
}

/** A pack as text in which different floats differ, also -0 and 0. */
function print(pack: Pack): string {
  const hex = (list: Float32Array | null | undefined) =>
    list && Buffer.from(list.buffer, list.byteOffset, list.byteLength).toString('hex')
  const { slots, head, ...info } = pack
  const byKey = ([a]: [string, ...unknown[]], [b]: [string, ...unknown[]]) => (a < b ? -1 : 1)
  return JSON.stringify([
    Object.entries(info).sort(byKey),
    [...slots].sort(byKey).map(([name, w]) => [name, hex(w.scale), hex(w.bias), hex(w.matrix)]),
    [head?.classes, hex(head?.weight), hex(head?.bias)],
  ])
}

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true })
const float16 = fc
  .integer({ min: 0, max: 0xffff })
  .filter((bits) => (bits & 0x7c00) !== 0x7c00)
  .map((bits) => decodeFloat16(new Uint16Array([bits])).floats[0]!)

for (const design of designs) {
  t.test(`${design}: write then read is the identity`, async () => {
    const of = tinyFamily(design)
    for (const [dtype, value] of [
      ['f32', float32],
      ['f16', float16],
    ] as const) {
      fc.assert(
        fc.property(anyPack(of, value), (pack) => {
          const bytes = writePack(pack, of, { dtype })
          const back = readPack(bytes, of)
          const again = writePack(back, of, { dtype })
          return print(back) === print(pack) && Buffer.compare(bytes, again) === 0
        }),
        { seed: 7, numRuns: 40 },
      )
    }
  })
}

t.test('the writer refuses, all at once, what the reader would', async (t) => {
  const pack = tinyPack(family)
  pack.slots.get('stem.conv')!.scale[1] = Number.NaN
  pack.slots.get('stem.conv')!.bias = new Float32Array(3)
  pack.slots.get('norm')!.matrix = new Float32Array(25)
  pack.slots.set('nobody', { scale: new Float32Array(1), bias: new Float32Array(1) })
  pack.head!.weight = new Float32Array(14)
  t.same(
    problemsOf(() => writePack(pack, family, { dtype: 'f32' })),
    [
      'tensor "stem.conv.scale": value 1 is NaN, expected finite values',
      'tensor "stem.conv.bias" has 3 values, shape [4] takes 4',
      'slot "norm": this slot takes no matrix in family "tiny", scale and bias alone: leave the tensor out',
      'slot "nobody": unknown name, no such slot in family "tiny"',
      'tensor "head.weight" has 14 values, shape [3,5] takes 15',
    ],
  )
  const misfits: [Partial<Pack>, RegExp][] = [
    [{ labels: ['a', 'b'] }, /labels has 2 entries, expected 3/],
    [{ labels: null }, /head is given without labels/],
    [{ std: [0.1, 0, 0.1] }, /std\[1\] must lie between 0.0001 and 10000/],
    [{ mean: [Number.NaN, 0, 0] }, /mean is \[null,0,0\]/],
    [{ design: 'bn' }, /"bn" has no matrix/],
    [{ family: 'x' }, /another family/],
    [{ name: '\ud800' }, /half a surrogate pair/],
  ]
  for (const [change, expected] of misfits) {
    t.match(
      problemsOf(() => writePack({ ...tinyPack(family), ...change }, family, { dtype: 'f32' }))[0],
      expected,
    )
  }
})

t.test('values that overflow half precision are refused by name', async (t) => {
  const pack = tinyPack(family)
  pack.slots.get('norm')!.scale[2] = 65519
  t.same(
    problemsOf(() => writePack(pack, family, { dtype: 'f16' })),
    [],
    '65519 rounds to 65504',
  )
  pack.slots.get('norm')!.scale[2] = -65520
  pack.head!.bias[0] = 1e9
  t.match(
    problemsOf(() => writePack(pack, family, { dtype: 'f16' })),
    [
      /^tensor "norm.scale": value -65520 at index 2 does not fit float16.*write it as F32$/,
      /^tensor "head.bias": value 1000000000 at index 0/,
    ],
  )
  t.same(
    problemsOf(() => writePack(pack, family, { dtype: 'f32' })),
    [],
  )
})

t.test(
  'half precision: every value comes back, everything else rounds to nearest, ties to even',
  async (t) => {
    const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits).filter(
      (bits) => (bits & 0x7c00) !== 0x7c00,
    )
    const { floats: values, finite } = decodeFloat16(all)
    t.ok(finite)
    for (const bits of [0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff])
      t.notOk(decodeFloat16(Uint16Array.of(0x3c00, bits, 0xbc00)).finite, `${bits}`)
    t.same(encodeFloat16(values), all)
    t.same(
      [...decodeFloat16(new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00])).floats],
      [1, -2, 2 ** -24, 65504, Infinity],
    )

    let wrong = 0
    for (let bits = 0; bits < 0x7bff; bits++) {
      const [low, high] = [values[bits]!, values[bits + 1]!]
      const middle = (low + high) / 2
      const step = (high - low) / 512
      const [below, tie, above] = encodeFloat16(new Float32Array([middle - step, middle, middle + step]))
      if (below !== bits || above !== bits + 1 || tie !== bits + (bits & 1)) wrong++
    }
    t.equal(wrong, 0)
    t.throws(() => encodeFloat16(new Float32Array([0, 70000])), {
      name: 'Float16RangeError',
      index: 1,
      message: /70000 at index 1/,
    })
    t.throws(() => encodeFloat16(new Float32Array([Number.NaN])), RangeError)
  },
)

t.test(
  "a row holds the pack's slots, the base's where the pack has none, and zeros where neither has a matrix",
  async (t) => {
    const base = tinyPack(family, () => 2)
    const { matrix: _, ...withoutMatrix } = base.slots.get('blocks.0.c1.conv')!
    base.slots.set('blocks.0.c1.conv', withoutMatrix as SlotWeights)
    const pack = tinyPack(family, () => 3)
    pack.slots.delete('norm')
    pack.slots.delete('blocks.0.c1.conv')
    pack.mean = [0, 0.5, 1]
    pack.std = [1, 0.5, 0.25]
    const layout = bankLayout(family)
    const row = packRow(pack, base, family, layout, 'f32')
    // Every slot's scale, then every slot's bias.
    const scales = [...Array(4).fill(3), ...Array(10).fill(2)]
    t.same(row.tensors, [
      new Float32Array([1 / 255, 2 / 255, 4 / 255, 0, -1, -4, ...scales, ...scales]),
      new Float32Array(12).fill(3),
      new Float32Array(20),
    ])
    t.same(row.head, pack.head)

    const half = packRow(pack, base, family, layout, 'f16')
    t.same(half.tensors, (row.tensors as Float32Array[]).map(encodeFloat16))
    t.same(half.head, pack.head, 'the head stays float32')

    const lengths = packRow(base, null, family, layout, 'f32').tensors.map(({ length }) => length)
    t.same(
      lengths,
      layout.tensors.map(({ elements }) => elements),
    )
    t.equal(packRow({ ...pack, head: null }, base, family, layout, 'f32').head, null)
  },
)

t.test('a row can be transferred and leaves the pack whole', async (t) => {
  const base = readPack(writePack(tinyPack(family), family, { dtype: 'f32' }), family)
  for (const dtype of ['f32', 'f16'] as const) {
    const row = packRow(base, null, family, bankLayout(family), dtype)
    const tensors = [...row.tensors, row.head!.weight, row.head!.bias]
    const buffers = tensors.map((tensor) => {
      t.equal(tensor.byteLength, tensor.buffer.byteLength, 'exact length')
      return tensor.buffer as ArrayBuffer
    })
    t.equal(new Set(buffers).size, buffers.length)
    structuredClone(row, { transfer: buffers })
    t.same(base, tinyPack(family))
  }
})

t.test('a row that cannot be laid out is refused by name', async (t) => {
  const layout = bankLayout(family)
  const pack = tinyPack(family, () => 1)
  pack.slots.get('norm')!.bias[1] = 1e6
  pack.slots.get('stem.conv')!.matrix![0] = 1e6
  t.match(
    problemsOf(() => packRow(pack, null, family, layout, 'f16')),
    [
      /^tensor "norm.bias" has the value 1000000, which does not fit the f16 bank$/,
      /^tensor "stem.conv.matrix" has the value 1000000/,
    ],
  )
  t.same(
    problemsOf(() => packRow(pack, null, family, layout, 'f32')),
    [],
  )
  const dark: Pack = { ...tinyPack(family), std: [1e-8, 1, 1] }
  t.match(problemsOf(() => packRow(dark, null, family, layout, 'f16'))[0], /^std \(as 1\/\(255 std\)\)/)
  const bright: Pack = { ...tinyPack(family), mean: [1e6, 1, 1] }
  t.match(problemsOf(() => packRow(bright, null, family, layout, 'f16'))[0], /^mean and std \(as mean\/std\)/)

  const holes = tinyPack(family)
  holes.slots.delete('norm')
  t.same(
    problemsOf(() => packRow(holes, null, family, layout, 'f32')),
    ['slot "norm" is not in the base pack of family "tiny"'],
  )
})

t.test('every design has a family to fit', async (t) => {
  for (const design of designs satisfies readonly Design[]) {
    const of = tinyFamily(design)
    t.same(
      problemsOf(() => readPack(writePack(tinyPack(of), of, { dtype: 'f32' }), of)),
      [],
      design,
    )
  }
})
