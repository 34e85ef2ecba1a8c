/** The bank's layout: what the graphs' inputs are made of. */
import t from 'tap'
import { adapterElements, elementsOf, slotParts } from '../src/manifest/kinds/kinds.js'
import { bankLayout, isReservedName } from '../src/manifest/layout.js'
import { tinyFamily } from './families.js'

for (const design of ['parallel', 'series', 'bn', 'feature'] as const) {
  t.test(`${design}: every number of an adapter has one place in a row`, (t) => {
    const { slots } = tinyFamily(design)
    const { tensors, elements } = bankLayout({ slots })
    for (const { name, dims, elements, parts, single } of tensors) {
      t.ok(isReservedName(name))
      t.equal(elementsOf(dims), elements)
      for (const pieces of [parts, single]) {
        let end = 0
        for (const { offset, elements } of pieces) {
          t.equal(offset, end, 'pieces follow each other')
          end += elements
        }
        t.equal(end, elements)
      }
      for (const { dims, elements } of single) t.equal(elementsOf(dims), elements)
    }
    const places = tensors.flatMap(({ parts }) => parts.map(({ slot, part }) => `${slot} ${part}`))
    t.equal(new Set(places).size, places.length)
    const expected = slots.flatMap((slot) => slotParts(slot).map((part) => `${slot.name} ${part.name}`))
    t.same([...places].sort(), [...expected, 'null scale', 'null shift'].sort())
    t.equal(elements, 6 + adapterElements(slots))
    t.end()
  })
}

t.test('the affine row comes first, then the matrices in slot order', (t) => {
  const { tensors } = bankLayout(tinyFamily('parallel'))
  t.same(
    tensors.map(({ name, dims, single }) => [name, dims, single.map(({ name, dims }) => [name, dims])]),
    [
      [
        'affine',
        [34],
        [
          ['scale', [1, 20, 1, 1]],
          ['bias', [14]],
        ],
      ],
      ['matrix.stem.conv', [4, 3], [['matrix.stem.conv', [4, 3, 1, 1]]]],
      ['matrix.blocks.0.c1.conv', [5, 4], [['matrix.blocks.0.c1.conv', [5, 4, 1, 1]]]],
    ],
  )
  t.end()
})
