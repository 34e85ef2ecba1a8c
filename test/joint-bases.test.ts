/** Bases are chosen by what they lose: of the matrices, or of what these make of images. */
import { Matrix, SVD } from 'ml-matrix'
import t from 'tap'
import { chooseBases, type JointDomain } from '../src/compiler/joint/bases.js'
import { Moments } from '../src/compiler/joint/moments.js'
import { ranksFor } from '../src/compiler/joint/ranks.js'
import type { Slot } from '../src/manifest/manifest.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import { project, worstSlot } from '../src/pack/projection.js'
import { random } from './networks.js'

const slot: Slot = { name: 'a', kind: 'conv', in: 6, out: 5, kernel: [3, 3], stride: [1, 1], columns: 6 }
const whole = { kind: 'uniform', share: 1 } as const
const half = { kind: 'uniform', share: 0.5 } as const

function domain(name: string, weights: Partial<SlotWeights>): JointDomain {
  const given = { scale: new Float32Array(5).fill(1), bias: new Float32Array(5), ...weights } as SlotWeights
  return { domain: name, pack: { slots: new Map([['a', given]]) } as Pack }
}

/** Domains with random matrices. */
function domains(count: number, seed = 3): JointDomain[] {
  const next = random(seed)
  return Array.from({ length: count }, (_, at) =>
    domain(`d${at}`, { matrix: Float32Array.from({ length: 30 }, next) }),
  )
}

const matrixOf = (values: ArrayLike<number>, columns: number) =>
  Matrix.from1DArray(values.length / columns, columns, values as number[])
const matrix = ({ pack }: JointDomain) => matrixOf(pack.slots.get('a')!.matrix!, 6)
const size = (of: Matrix) => of.norm('frobenius')

/** Images whose values lie mostly in one plane, those of `d1` a hundred times larger. */
function moments(names: readonly string[], images = 40): Moments {
  const seen = new Moments([{ slot, input: 'v', output: 'y', last: false }], names.length)
  const next = random(9)
  for (const name of names)
    for (let image = 0; image < images; image++) {
      const gain = name === 'd1' ? 100 : 1
      const values = new Float32Array(6 * 4)
      for (let place = 0; place < 4; place++) {
        const [u, v] = [next(), next()]
        const vector = [1 + u, u - v, v, 2 * u, v - 1, 0.05 * next()]
        for (const [at, value] of vector.entries()) values[at * 4 + place] = gain * (value + 0.02 * next())
      }
      const outputs = Float32Array.from({ length: 5 * 4 }, () => gain * next())
      seen.add(
        new Map([
          ['v', { values, dims: [1, 6, 2, 2] }],
          ['y', { values: outputs, dims: [1, 5, 2, 2] }],
        ]),
        name,
      )
    }
  return seen
}

t.test('with its whole rank a basis keeps every matrix', async (t) => {
  // In directions that images hardly have, a matrix may become another.
  for (const [count, seen, near] of [
    [1, null, 1e-4],
    [3, null, 1e-4],
    [3, moments(['d0', 'd1', 'd2']), 0.1],
  ] as const) {
    const all = domains(count)
    const { bases, adapters, slots } = chooseBases([slot], all, seen, whole)
    const basis = matrixOf(bases.get('a')!.basis, 6)
    for (const each of all) {
      const up = matrixOf(adapters.get(each.domain)!.get('a')!.up!, basis.rows)
      t.ok(
        size(Matrix.sub(up.mmul(basis), matrix(each))) <= near * size(matrix(each)),
        `${count}: ${each.domain}`,
      )
    }
    t.ok(slots[0]!.kept.every(({ share }) => share > 0.999999))
  }
})

t.test(
  'by the matrices alone a basis is the best there is: their singular value decomposition',
  async (t) => {
    const all = domains(3)
    const { bases, slots } = chooseBases([slot], all, null, half)
    const basis = matrixOf(bases.get('a')!.basis, 6)
    t.equal(basis.rows, 3)
    t.ok(size(Matrix.sub(basis.mmul(basis.transpose()), Matrix.eye(3, 3))) < 1e-5, 'its rows are orthonormal')
    const stacked = new Matrix(15, 6)
    for (const [at, each] of all.entries()) stacked.setSubMatrix(matrix(each), 5 * at, 0)
    const best = new SVD(stacked).diagonal.slice(3).reduce((sum, value) => sum + value ** 2, 0)
    const lost = Matrix.sub(stacked, stacked.mmul(basis.transpose()).mmul(basis))
    t.ok(Math.abs(size(lost) ** 2 - best) < 1e-4 * best)
    for (const [at, { share }] of slots[0]!.kept.entries()) {
      const own = matrix(all[at]!)
      const rest = Matrix.sub(own, own.mmul(basis.transpose()).mmul(basis))
      t.ok(Math.abs(share - (1 - size(rest) ** 2 / size(own) ** 2)) < 1e-5)
    }
  },
)

t.test('factors have the basis that their product has', async (t) => {
  const next = random(8)
  const draw = (count: number) => Float32Array.from({ length: count }, next)
  const factored = [0, 1].map((at) => domain(`d${at}`, { up: draw(10), down: draw(12) }))
  const multiplied = factored.map(({ domain: name, pack }) => {
    const { up, down } = pack.slots.get('a') as Record<string, Float32Array>
    return domain(name, { matrix: Float32Array.from(matrixOf(up!, 2).mmul(matrixOf(down!, 6)).to1DArray()) })
  })
  const of = (slot: Slot, all: JointDomain[]) => {
    const basis = matrixOf(
      chooseBases([slot], all, null, { kind: 'energy', kept: 0.8 }).bases.get('a')!.basis,
      6,
    )
    return basis.transpose().mmul(basis)
  }
  t.ok(size(Matrix.sub(of({ ...slot, rank: 2 }, factored), of(slot, multiplied))) < 1e-4)
})

t.test('where images were seen, less is lost of what the matrices make of them', async (t) => {
  const all = domains(3)
  const seen = moments(all.map(({ domain }) => domain))
  const byImages = chooseBases([slot], all, seen, half)
  const plain = chooseBases([slot], all, null, half)
  for (const each of all) {
    const { second, mean } = seen.of('a', each.domain)!
    const inputs = matrixOf(second, 6)
    const energy = (of: Matrix) => of.mmul(inputs).mmul(of.transpose()).trace()
    const lost = ({ bases, adapters }: typeof plain) => {
      const basis = matrixOf(bases.get('a')!.basis, 6)
      return Matrix.sub(
        matrix(each),
        matrixOf(adapters.get(each.domain)!.get('a')!.up!, basis.rows).mmul(basis),
      )
    }
    t.ok(energy(lost(byImages)) < energy(lost(plain)), each.domain)
    const { kept } = byImages.slots[0]!
    const { share } = kept.find(({ domain }) => domain === each.domain)!
    t.ok(Math.abs(share - (1 - energy(lost(byImages)) / energy(matrix(each)))) < 1e-5)
    // The least squares solution: no other `up` on the same basis loses less.
    const basis = matrixOf(byImages.bases.get('a')!.basis, 6)
    const next = random(4)
    const up = matrixOf(byImages.adapters.get(each.domain)!.get('a')!.up!, basis.rows)
    const moved = Matrix.add(
      up,
      matrixOf(
        Float32Array.from({ length: 5 * basis.rows }, () => 0.01 * next()),
        basis.rows,
      ),
    )
    t.ok(energy(Matrix.sub(matrix(each), moved.mmul(basis))) > energy(lost(byImages)))
    // What is lost of the mean input is in the bias.
    const bias = byImages.adapters.get(each.domain)!.get('a')!.bias
    const gone = lost(byImages).mmul(Matrix.columnVector(mean)).to1DArray()
    t.ok(gone.every((value, at) => Math.abs(value - bias[at]!) <= 1e-4 * (1 + Math.abs(value))))
  }
})

t.test('a matrix that comes later is projected by least squares, and its error told', async (t) => {
  const all = domains(3)
  const seen = moments(
    all.map(({ domain }) => domain),
    200,
  )
  const { bases } = chooseBases([slot], all, seen, half)
  const basis = matrixOf(bases.get('a')!.basis, 6)
  const small: Slot = { ...slot, basis: basis.rows }
  const [later] = domains(1, 77) as [JointDomain]
  const { slots, projection } = project(later.pack, [small], bases)
  const weights = slots.get('a')!
  t.same(Object.keys(weights).sort(), ['bias', 'scale', 'up'])
  const lost = Matrix.sub(matrix(later), matrixOf(weights.up!, basis.rows).mmul(basis))
  const sketch = matrixOf(bases.get('a')!.sketch!, bases.get('a')!.sketch!.length / 6)
  const expected = size(lost.mmul(sketch)) / size(matrix(later).mmul(sketch))
  t.same(
    projection.slots.map(({ slot }) => slot),
    ['a'],
  )
  t.ok(Math.abs(worstSlot(projection)!.error - expected) < 1e-5)
  t.ok(expected > 0.01 && expected < 1)
  // A matrix on the basis loses nothing, and one without any is left alone.
  const inside = Float32Array.from(matrixOf(weights.up!, basis.rows).mmul(basis).to1DArray())
  const again = project(domain('x', { matrix: inside }).pack, [small], bases)
  t.ok(worstSlot(again.projection)!.error < 1e-3)
  const without = domain('x', {}).pack
  t.equal(project(without, [small], bases).slots.get('a'), without.slots.get('a'))
  t.equal(worstSlot(project(without, [small], bases).projection), undefined)
})

t.test('ranks: a share of each, the energy that is kept, and what fits a budget', async (t) => {
  const spectra = [
    { energies: [8, 1, 1, 0], cost: 10, bytes: 4 },
    { energies: [3, 3, 2, 2], cost: 20, bytes: 8 },
  ]
  t.same(ranksFor(spectra, { kind: 'uniform', share: 0.5 }), [2, 2])
  t.same(ranksFor(spectra, { kind: 'uniform', share: 0.01 }), [1, 1], 'one at least')
  t.same(ranksFor(spectra, { kind: 'energy', kept: 0.8 }), [1, 3])
  t.same(ranksFor(spectra, { kind: 'energy', kept: 1 }), [3, 4])
  // 60 parameters: 30 for the first rows, then the 3 for 20; what is left is no row of the slot that would be next.
  t.same(ranksFor(spectra, { kind: 'allotted', share: 0.5 }), [2, 2])
  t.same(ranksFor(spectra, { kind: 'bytes', bytes: 32 }), [3, 2])
  t.throws(
    () => ranksFor(spectra, { kind: 'bytes', bytes: 11 }),
    /11 bytes .* less than one row of every slot takes: 12/,
  )
})

t.test('a slot whose output is constant in a domain ends nothing', async (t) => {
  const all = domains(2)
  const seen = new Moments([{ slot, input: 'v', output: 'y', last: false }], 2)
  const next = random(3)
  for (const { domain: name } of all) {
    const values = Float32Array.from({ length: 6 * 4 }, next)
    const outputs = Float32Array.from({ length: 5 * 4 }, () => (name === 'd0' ? 1 : next()))
    seen.add(
      new Map([
        ['v', { values, dims: [1, 6, 2, 2] }],
        ['y', { values: outputs, dims: [1, 5, 2, 2] }],
      ]),
      name,
    )
  }
  const { slots } = chooseBases([slot], all, seen, half)
  t.ok(slots[0]!.kept.every(({ share }) => share >= 0 && share <= 1))
})

t.test(
  'as many inputs are kept for errors as are wanted, of all images, however few domains there are',
  async (t) => {
    for (const names of [['d0'], ['d0', 'd2', 'd3']]) {
      const seen = moments(names, 100)
      const kept = names.map((name) => seen.of('a', name)!.samples.length)
      t.ok(
        kept.every((count) => count >= 64 / names.length && count <= 128 / names.length + 2),
        String(kept),
      )
    }
  },
)
