/** A prepared pack hands out its decoded arrays with the first row, and complete rows after that. */
import t from 'tap'
import { sha256Now } from '../src/bytes/digest.js'
import type { RowTensors } from '../src/engine/batch.js'
import { encodeFloat16 } from '../src/bytes/float16.js'
import { bytesOf, bytesOfRow, rowBytes } from '../src/engine/bank-spec.js'
import { packRow } from '../src/engine/row.js'
import { free } from '../src/bytes/free.js'
import { extentOf, type OwnAdapter } from '../src/pack/extent.js'
import type { Pack } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { writePack } from '../src/pack/write.js'
import { describePack } from '../src/registry/opening.js'
import { arraysOf, preparer } from '../src/residency/prepare.js'
import { family, randomHead, randomPack } from './engine-rig.js'

const { base, layout, manifest } = family

/** SHA-256 of each array of a row at the moment of the call. */
function digestsOf({ tensors, head }: RowTensors): string[] {
  return [...tensors, head!.weight, head!.bias].map((array) => sha256Now(bytesOf(array)))
}

const { affine, none, whole } = ownPacks()

/** Packs that bring everything, scales and biases, and a head alone. The first two leave a slot to the base. */
function ownPacks(): Record<OwnAdapter, Pack> {
  const labels = ['a', 'b', 'c']
  const head = randomHead(3, 1)
  const withSlots = (pack: Pack) => ({ ...pack, slots: new Map([...pack.slots].slice(1)), labels, head })
  const plain = { ...base, labels, head }
  return {
    whole: withSlots(randomPack(1, 3)),
    affine: withSlots(plain),
    none: { ...plain, design: 'feature', slots: new Map() },
  }
}

for (const dtype of ['f16', 'f32'] as const)
  for (const [pack, adapter, tensors] of [
    [whole, 'whole', layout.tensors.length],
    [affine, 'affine', 1],
    [none, 'none', 0],
  ] as const)
    t.test(`rows of a pack in ${dtype} hold what it brings: ${adapter}`, async (t) => {
      const bytes = writePack(pack, manifest, { dtype })
      const read = readPack(bytes.slice(), manifest)
      const laidOut = packRow(read, base, manifest, layout, 'f32')
      const weight = dtype === 'f16' ? encodeFloat16(read.head!.weight) : read.head!.weight
      const own = { tensors: laidOut.tensors.slice(0, tensors), head: { ...laidOut.head!, weight } }
      const expected = digestsOf(own)
      const before = digestsOf(baseRow())
      const prepared = await preparer([family], 'f32')(bytes)
      t.match(prepared.about, { adapter, classes: 3, halfHead: dtype === 'f16' })
      t.match(describePack(bytes, [family]), { adapter, classes: 3, head: dtype }, 'as its header says')
      const sizes = { layout, dtype: 'f32' as const, features: manifest.features }
      for (const time of ['first', 'second', 'third']) {
        const row = await prepared.row()
        t.same(digestsOf(row), expected, `the ${time} is whole`)
        t.equal(bytesOfRow(row), rowBytes(sizes, prepared.about))
        const { tensors, head } = row
        free([...tensors, head!.weight, head!.bias])
      }
      t.same(digestsOf(baseRow()), before, "what the base gave is the base's still")
      prepared.release()
      await t.rejects(prepared.row(), /released/)
    })

t.test('its own normalisation of the input makes an affine row', async (t) => {
  const own: Pack = { ...none, mean: [0.1, 0.2, 0.3] }
  t.equal(extentOf(own, base).adapter, 'affine')
  const bytes = writePack(own, manifest, { dtype: 'f16' })
  t.match(describePack(bytes, [family]), { adapter: 'affine' })
  t.match(describePack(bytes, []), { adapter: 'whole' }, 'of a family that is not served, no less than it is')
})

t.test('where the base has matrices, a slot without one is no slot of the base', async (t) => {
  const rich = { ...base, slots: new Map([...base.slots, ...whole.slots]) }
  t.equal(extentOf(affine, rich).adapter, 'whole')
  t.equal(extentOf(none, rich).adapter, 'none')
})

t.test(
  'the arrays of a pack are those of all its parts, also of kinds of slot that are to come',
  async (t) => {
    const slot = { scale: new Float32Array(2), bias: new Float32Array(2), factor: new Float32Array(6) }
    const head = randomHead(3, 1)
    const arrays = arraysOf({ slots: new Map([['conv1', slot]]), head })
    t.same(new Set(arrays), new Set([...Object.values(slot), head.weight, head.bias]))
  },
)

/** A row of the base, with a head so that it has all parts. */
function baseRow(): RowTensors {
  return packRow({ ...base, head: randomHead(3, 2) }, base, manifest, layout, 'f32')
}
