/** A prepared pack hands out its decoded arrays with the first row, and complete rows after that. */
import t from 'tap'
import { sha256Now } from '../src/bytes/digest.js'
import type { RowTensors } from '../src/engine/batch.js'
import { bytesOf } from '../src/engine/bank-spec.js'
import { packRow } from '../src/engine/row.js'
import { free } from '../src/bytes/free.js'
import { readPack } from '../src/pack/read.js'
import { writePack } from '../src/pack/write.js'
import { arraysOf, preparer } from '../src/residency/prepare.js'
import { family, randomHead } from './engine-rig.js'

const { base, layout, manifest } = family

/** SHA-256 of each array of a row at the moment of the call. */
function digestsOf({ tensors, head }: RowTensors): string[] {
  return [...tensors, head!.weight, head!.bias].map((array) => sha256Now(bytesOf(array)))
}

for (const dtype of ['f16', 'f32'] as const) {
  t.test(`rows of a pack in ${dtype}`, async (t) => {
    // Without its first slot, which is then the base's.
    const slots = new Map([...base.slots].slice(1))
    const pack = { ...base, slots, labels: ['a', 'b', 'c'], head: randomHead(3, 1) }
    const bytes = writePack(pack, manifest, { dtype })
    const expected = digestsOf(packRow(readPack(bytes.slice(), manifest), base, manifest, layout, 'f32'))
    const before = digestsOf(baseRow())
    const prepared = await preparer([family], 'f32')(bytes)
    for (const time of ['first', 'second', 'third']) {
      const row = await prepared.row()
      t.same(digestsOf(row), expected, `the ${time} is whole`)
      const { tensors, head } = row
      free([...tensors, head!.weight, head!.bias])
    }
    t.same(digestsOf(baseRow()), before, "what the base gave is the base's still")
    prepared.release()
    await t.rejects(prepared.row(), /released/)
  })
}

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
