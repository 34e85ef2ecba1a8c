/** The bank of a lane: which rows are copied for a batch, and when. Rows have one slot with a matrix. */
import t from 'tap'
import { Bank } from '../src/engine/bank.js'
import type { SharedRow } from '../src/engine/messages.js'

const spec = {
  bankDtype: 'f32',
  tensors: [
    {
      name: 'affine',
      dims: [3],
      elements: 3,
      single: [
        { name: 'scale', dims: [1, 2, 1, 1], offset: 0, elements: 2 },
        { name: 'bias', dims: [1], offset: 2, elements: 1 },
      ],
    },
    {
      name: 'matrix.a',
      dims: [1, 2],
      elements: 2,
      single: [{ name: 'matrix.a', dims: [1, 2, 1, 1], offset: 0, elements: 2 }],
    },
  ],
  features: 2,
} as const
/** Values of a whole row in shared memory: the affine row, the matrix, a head of one class and its bias. */
const ROW_VALUES = 8

interface FakeTensor {
  data: Float32Array
  dims: readonly number[]
}

/** A bank over one segment of shared memory, and how many tensors it has made. */
function makeBank() {
  const memory = new Float32Array(new SharedArrayBuffer(64 * ROW_VALUES * 4))
  let made = 0
  const bank = new Bank<FakeTensor>(spec, {
    tensor(_type, data, dims) {
      made += 1
      return { data: data as Float32Array, dims }
    },
  })
  bank.share(memory.buffer as unknown as SharedArrayBuffer)
  /** Writes a row whose values are all `value`. @param spans in how many pieces it lies */
  const write = (row: number, value: number, spans = 1, classes = 1, own = 2) => {
    memory.fill(value, row * ROW_VALUES, (row + 1) * ROW_VALUES)
    const length = (ROW_VALUES * 4) / spans
    const content: SharedRow = {
      spans: Array.from({ length: spans }, (_, index) => {
        return { segment: 0, start: row * ROW_VALUES * 4 + index * length, length }
      }),
      own,
      classes,
      halfHead: false,
    }
    bank.setRow(row, content)
  }
  const mixed = (...rows: number[]) => {
    const { feeds, places, matrixPlaces } = bank.mixedFeeds(Int32Array.from(rows))
    const [affine, matrix] = [feeds.affine!, feeds['matrix.a']!]
    return { affine, matrix, places: [...places], matrixPlaces: [...matrixPlaces] }
  }
  return { bank, memory, write, mixed, made: () => made }
}

t.test('a batch gets the rows of its domains, each once, in the order of the samples', async (t) => {
  const { write, mixed } = makeBank()
  for (const row of [1, 2, 3]) write(row, row)
  const { affine, matrix, places, matrixPlaces } = mixed(3, 1, 3, 2)
  t.same([...affine.data], [3, 3, 3, 1, 1, 1, 2, 2, 2])
  t.same(affine.dims, [3, 3])
  t.same([...matrix.data], [3, 3, 1, 1, 2, 2])
  t.same(matrix.dims, [3, 1, 2])
  t.same(places, [0, 1, 0, 2])
  t.same(matrixPlaces, [0, 1, 0, 2])
  t.match(mixed(2, 2), {
    places: [0, 0],
    matrixPlaces: [0],
    affine: { data: new Float32Array([2, 2, 2]) },
  })
})

t.test('a row that lies in several spans is put together', async (t) => {
  const { write, mixed } = makeBank()
  write(1, 7, 4)
  t.same([...mixed(1).affine.data], [7, 7, 7])
})

t.test(
  'a row is copied when its place holds another or when it was written anew, and not otherwise',
  async (t) => {
    const { bank, memory, write, mixed } = makeBank()
    for (const row of [1, 2]) write(row, row)
    mixed(1, 2)
    // Changes in shared memory are not announced. The engine never makes any; here one shows whether a row is
    // copied.
    memory.fill(9)
    t.same([...mixed(1, 2).affine.data], [1, 1, 1, 2, 2, 2], 'both are at their places')
    t.same([...mixed(2, 1).affine.data], [9, 9, 9, 9, 9, 9], 'both have other places now')
    write(1, 5)
    t.same([...mixed(2, 1).affine.data], [9, 9, 9, 5, 5, 5], 'the new row, at its old place')
    write(2, 6)
    t.same([...bank.singleFeeds(2).bias!.data], [6], 'for the graph of one domain as well')
  },
)

t.test('the graph for one domain gets views of the first place', async (t) => {
  const { bank, write } = makeBank()
  for (const row of [1, 2]) write(row, row)
  const feeds = bank.singleFeeds(2)
  t.same([feeds.scale!.dims, feeds.bias!.dims, feeds['matrix.a']!.dims], [[1, 2, 1, 1], [1], [1, 2, 1, 1]])
  t.same([...feeds.scale!.data, ...feeds.bias!.data, ...feeds['matrix.a']!.data], [2, 2, 2, 2, 2])
  t.equal(bank.singleFeeds(1).scale, feeds.scale, 'the tensors are kept')
  t.same([...feeds.scale!.data], [1, 1])
})

t.test('tensors are made once a number of domains, and anew only when more places are needed', async (t) => {
  const { write, mixed, made } = makeBank()
  for (const row of [1, 2, 3, 4]) write(row, row)
  const two = mixed(1, 2).affine
  const before = made()
  for (let n = 0; n < 5; n++) t.equal(mixed(3, 4, 3).affine, two)
  t.equal(made(), before)
  t.same([...mixed(4, 3, 1).affine.data], [4, 4, 4, 3, 3, 3, 1, 1, 1])
  t.same([...mixed(1, 2).affine.data], [1, 1, 1, 2, 2, 2], 'after the buffers have grown')
})

t.test('an empty row is refused, and the others stay right', async (t) => {
  const { bank, write, mixed } = makeBank()
  for (const row of [1, 2]) write(row, row)
  mixed(1, 2)
  bank.clear(2)
  const refused = { name: 'RangeError', message: 'bank row 2 is empty' }
  t.throws(() => mixed(1, 2), refused)
  t.throws(() => bank.singleFeeds(2), refused)
  t.throws(() => bank.classes(2), refused)
  t.throws(() => bank.head(2), refused)
  t.same([...mixed(1).affine.data], [1, 1, 1])
})

t.test("a head is its row's, of the size it has now", async (t) => {
  const { bank, write } = makeBank()
  write(1, 4)
  write(2, 6)
  t.match(bank.head(1), { classes: 1, weight: new Float32Array([4, 4]), bias: new Float32Array([4]) })
  t.match(bank.head(2), { classes: 1, weight: new Float32Array([6, 6]), bias: new Float32Array([6]) })
  write(2, 8)
  t.match(bank.head(2), { weight: new Float32Array([8, 8]) })
  write(2, 8, 1, 0)
  t.equal(bank.classes(2), 0)
})

t.test('what a row does not have itself is that of the base', async (t) => {
  const { bank, write, mixed } = makeBank()
  write(0, 10)
  write(1, 1)
  write(2, 2, 1, 1, 1)
  write(3, 3, 1, 1, 0)
  write(4, 4, 1, 1, 0)
  const { affine, matrix, places, matrixPlaces } = mixed(3, 1, 2, 4, 0)
  t.same([...affine.data], [10, 10, 10, 1, 1, 1, 2, 2, 2], 'the base is there once')
  t.same(places, [0, 1, 2, 0, 0])
  t.same([...matrix.data], [10, 10, 1, 1])
  t.same(matrixPlaces, [0, 1, 0, 0, 0])
  t.same(mixed(2, 3).matrixPlaces, [0], 'rows without matrices have one in common')
  const feeds = bank.singleFeeds(2)
  t.same([...feeds.bias!.data, ...feeds['matrix.a']!.data], [2, 10, 10])
  const one = (...rows: number[]) => bank.hasOneAdapter(Int32Array.from(rows))
  t.same([one(3, 4, 0), one(3, 2), one(1, 1), one(1, 3)], [true, false, true, false])
  t.match(bank.head(3), { weight: new Float32Array([3, 3]), bias: new Float32Array([3]) })
  t.throws(() => one(3, 9), { name: 'RangeError', message: 'bank row 9 is empty' })
})

t.test('a head in half precision is widened, beside others', async (t) => {
  const { bank, memory, write } = makeBank()
  write(1, 4)
  const bytes = new DataView(memory.buffer as unknown as ArrayBuffer, 2 * ROW_VALUES * 4)
  // Weights 1.5 and -2 in half precision, then the bias.
  bytes.setUint16(0, 0x3e00, true)
  bytes.setUint16(2, 0xc000, true)
  bytes.setFloat32(4, 0.1, true)
  const span = { segment: 0, start: 2 * ROW_VALUES * 4, length: 8 }
  bank.setRow(2, { spans: [span], own: 0, classes: 1, halfHead: true })
  const half = { classes: 1, weight: new Float32Array([1.5, -2]), bias: new Float32Array([0.1]) }
  t.match(bank.head(2), half)
  t.match(bank.head(1), { weight: new Float32Array([4, 4]), bias: new Float32Array([4]) })
  t.match(bank.head(2), half)
})
