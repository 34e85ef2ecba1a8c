/** A compressed family computes what the family does whose packs have the same matrices, for every kind of slot. */
import path from 'node:path'
import t from 'tap'
import type { BuildOptions, BuiltFamily } from '../src/compiler/build.js'
import { matrixPlaces } from '../src/compiler/places.js'
import { compressFamily } from '../src/compiler/compress.js'
import { frozenConvolutions } from '../src/compiler/int8/convolutions.js'
import { findGraph } from '../src/manifest/graphs.js'
import type { FamilyManifest, Slot } from '../src/manifest/manifest.js'
import { loadModel } from '../src/onnx/onnx.js'
import type { Pack, SlotWeights } from '../src/pack/pack.js'
import type { Basis } from '../src/pack/projection.js'
import { readPack } from '../src/pack/read.js'
import { dedicatedNetworkBytes } from '../src/residency/memory.js'
import { mobile, networks } from './backbones.js'
import { checkGraphs, ROWS } from './graph-checks.js'
import { random } from './networks.js'
import { convTokens, transformer } from './token-networks.js'
import { basePack, build, openTrunk, randomPixels } from './trunk.js'

const token = (network: { size: number; write(): { onnx: Uint8Array } }) => () => ({
  size: network.size,
  onnx: () => network.write().onnx,
})

const cases: Record<string, [() => { size: number; onnx(): Uint8Array }, Partial<BuildOptions>]> = {
  'whole matrices beside convolutions': [networks.residual!, { design: 'parallel' }],
  'whole matrices behind convolutions': [networks.residual!, { design: 'series' }],
  'branches, and a trunk in half precision': [networks.branches!, { design: 'parallel', fp16: true }],
  'factors at pointwise convolutions, of which some have weights made in the graph': [mobile, { rank: 3 }],
  'whole matrices at pointwise convolutions': [mobile, { rank: 'full' }],
  'factors at linear layers': [token(transformer), { rank: 4 }],
  'factors behind linear layers': [token(transformer), { rank: 4, design: 'series' }],
  'matrices at some convolutions': [networks.residual!, { slots: matrixPlaces('early+late', undefined) }],
  'whole matrices at linear layers of tokens': [token(convTokens), { rank: 'full' }],
}

/** A basis of random rows for each slot with a matrix, of half its rank. */
function randomBases(slots: readonly Slot[]): Map<string, Basis> {
  const next = random(5)
  const draw = (count: number) => Float32Array.from({ length: count }, next)
  const found = slots.flatMap(({ name, out, columns, rank = columns }): [string, Basis][] => {
    if (columns === 0) return []
    const rows = Math.max(1, Math.floor(Math.min(out, rank) / 2))
    return [[name, { basis: draw(rows * columns), projector: draw(rows * columns) }]]
  })
  return new Map(found)
}

/** A domain of which the two families have the same: as `up` on a basis, and multiplied out. */
function randomDomain(
  [source, compressed]: [Pack, Pack],
  { slots }: FamilyManifest,
  bases: ReadonlyMap<string, Basis>,
  seed: number,
): { whole: Pack; own: Pack } {
  const next = random(seed * 53)
  const draw = (count: number, middle = 0) =>
    Float32Array.from({ length: count }, () => middle + 0.4 * next())
  const whole = new Map<string, SlotWeights>()
  const own = new Map<string, SlotWeights>()
  for (const slot of slots) {
    const { name, out } = slot
    const affine = { scale: draw(out, 1), bias: draw(out) }
    const basis = bases.get(name)?.basis
    const up = basis && draw((out * basis.length) / slot.columns)
    own.set(name, { ...affine, ...(up && { up }) })
    whole.set(name, { ...affine, ...(up && multipliedOut(slot, up, basis)) })
  }
  const mean = [0, 1, 2].map(() => 0.5 + 0.2 * next()) as Pack['mean']
  const rest = { mean, std: [0.2, 0.3, 0.4] as Pack['std'], head: null, labels: null }
  return { whole: { ...source, ...rest, slots: whole }, own: { ...compressed, ...rest, slots: own } }
}

/** The matrix, or factors of the family's rank, of which the last are zero. */
function multipliedOut(
  { out, columns, rank }: Slot,
  up: Float32Array,
  basis: Float32Array,
): Record<string, Float32Array> {
  const rows = basis.length / columns
  if (rank !== undefined) {
    const [first, second] = [new Float32Array(out * rank), new Float32Array(rank * columns)]
    second.set(basis)
    for (let to = 0; to < out; to++) first.set(up.subarray(to * rows, (to + 1) * rows), to * rank)
    return { up: first, down: second }
  }
  const matrix = new Float32Array(out * columns)
  for (let to = 0; to < out; to++)
    for (let at = 0; at < columns; at++)
      for (let row = 0; row < rows; row++)
        matrix[to * columns + at]! += up[to * rows + row]! * basis[row * columns + at]!
  return { matrix }
}

function compressed(built: BuiltFamily, bases: ReadonlyMap<string, Basis>): BuiltFamily {
  const { manifest, files } = built
  const record = { packs: ['a', 'b'], images: 0, created: '2026-01-01T00:00:00.000Z', tool: 'tests' }
  const read = (name: string) => files.get(name)!
  const made = compressFamily({ manifest, base: basePack(built), read }, bases, { name: 'small', record })
  return { ...built, ...made }
}

for (const [name, [make, options]] of Object.entries(cases)) {
  t.test(name, async (t) => {
    const net = make()
    const built = await build(net.onnx(), options)
    const bases = randomBases(built.manifest.slots)
    const small = compressed(built, bases)
    t.ok(bases.size > 1)
    t.ok(
      small.manifest.parameters.adapter < built.manifest.parameters.adapter,
      'an adapter has fewer numbers',
    )
    const bases2: [Pack, Pack] = [
      basePack(built),
      readPack(small.files.get('base.safetensors')!, small.manifest),
    ]
    const domains = [1, 2, 3].map((seed) => randomDomain(bases2, small.manifest, bases, seed))
    const pixels = randomPixels(ROWS.length, net.size, 9)
    const full = await openTrunk(built, path.join(t.testdir(), 'whole'))
    const packs = [bases2[0], ...domains.map(({ whole }) => whole)]
    const features = await full.run(packs, pixels, ROWS)
    const own = [bases2[1], ...domains.map(({ own }) => own)]
    await checkGraphs(t, small, { packs: own, pixels, features, half: 2e-2 })
  })
}

t.test('the graphs read up, and nothing else of a matrix', async (t) => {
  const built = await build(networks.residual!().onnx(), { design: 'parallel' })
  const small = compressed(built, randomBases(built.manifest.slots))
  for (const serves of ['any', 'one'] as const) {
    const { file } = findGraph(small.manifest, { serves, bank: 'f32' })!
    const { inputs, nodes, constants } = loadModel(small.files.get(file)!, (name) => small.files.get(name))
    const ofMatrices = inputs.map(({ name }) => name).filter((name) => /^(matrix|up|down)\./.test(name))
    t.ok(ofMatrices.length > 0 && ofMatrices.every((name) => name.startsWith('up.')))
    const made = new Set([
      ...nodes.flatMap(({ outputs }) => outputs),
      ...constants.keys(),
      ...inputs.map(({ name }) => name),
    ])
    t.same(
      nodes.flatMap(({ inputs }) => inputs).filter((name) => name !== '' && !made.has(name)),
      [],
      'every value that is read is there',
    )
  }
})

t.test(
  'a dedicated network has no bases, and bases stay in float where the trunk is in 8 bits',
  async (t) => {
    const built = await build(networks.residual!().onnx(), { design: 'parallel' })
    const small = compressed(built, randomBases(built.manifest.slots))
    t.ok(small.manifest.parameters.trunk > built.manifest.parameters.trunk)
    t.equal(dedicatedNetworkBytes(small.manifest), dedicatedNetworkBytes(built.manifest))
    const outputs = ({ manifest, files }: BuiltFamily) => {
      const { file } = findGraph(manifest, { serves: 'one', bank: 'f32' })!
      return frozenConvolutions(loadModel(files.get(file)!, (name) => files.get(name))).map(
        ({ output }) => output,
      )
    }
    t.same(outputs(small), outputs(built))
  },
)

t.test('the fingerprint covers the bases, and the manifest says what was compressed', async (t) => {
  const built = await build(networks.residual!().onnx(), { design: 'parallel' })
  const bases = randomBases(built.manifest.slots)
  const small = compressed(built, bases)
  const [[name, basis], ...others] = [...bases] as [[string, Basis], ...[string, Basis][]]
  const moved = new Map([
    [name, { ...basis, basis: basis.basis.map((value) => value + 1) }] as const,
    ...others,
  ])
  t.not(small.manifest.fingerprint, built.manifest.fingerprint)
  t.not(compressed(built, moved).manifest.fingerprint, small.manifest.fingerprint)
  t.equal(compressed(built, bases).manifest.fingerprint, small.manifest.fingerprint)
  t.match(small.manifest.compressed, {
    family: 'test',
    fingerprint: built.manifest.fingerprint,
    packs: ['a', 'b'],
  })
})
