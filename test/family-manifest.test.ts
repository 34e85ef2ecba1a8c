/** Reading a family's folder, and the errors of a broken one. */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { fingerprint } from '../src/manifest/fingerprint.js'
import type { FamilyManifest, GraphVariant } from '../src/manifest/manifest.js'
import { readFamily } from '../src/family/folder.js'
import { FamilyError } from '../src/manifest/family-error.js'
import { parseManifest } from '../src/manifest/schema.js'
import type { Pack } from '../src/pack/pack.js'
import { writePack } from '../src/pack/write.js'
import { tinyFamily, tinyPack } from './families.js'

const family = tinyFamily()

/** Deep copies, changes, and keeps the fingerprint right unless told otherwise. */
function manifest(change: (manifest: FamilyManifest) => void, sign = true): string {
  const copy = structuredClone(family)
  change(copy)
  if (sign) copy.fingerprint = fingerprint(copy)
  return JSON.stringify(copy)
}

async function problemsOf(work: () => unknown): Promise<{ problems: readonly string[]; message: string }> {
  try {
    await work()
  } catch (error) {
    if (error instanceof FamilyError) return { problems: error.problems, message: error.message }
    throw error
  }
  return { problems: [], message: '' }
}

const parsing = async (text: string) => (await problemsOf(() => parseManifest(text))).problems

t.test('a valid manifest is read as it was written', async (t) => {
  t.same(parseManifest(JSON.stringify(family)), family)
  t.same(parseManifest(JSON.stringify(tinyFamily('feature'))).slots, [])
})

t.test('one fault, one problem that names the field, its value and what was expected', async (t) => {
  const first = (change: (slot: FamilyManifest['slots'][number]) => void) =>
    manifest((edited) => change(edited.slots[0]!))
  /** Sets the field at a path to any value; undefined removes it. */
  const set = (value: unknown, ...fields: string[]) =>
    manifest((edited) => {
      let at = edited as unknown as Record<string, unknown>
      for (const field of fields.slice(0, -1)) at = at[field] as Record<string, unknown>
      at[fields.at(-1)!] = value
    })
  const graph = { serves: 'any', bank: 'f32', weights: 'f32', file: 'trunk.onnx' }
  const attacks: [string, string, RegExp][] = [
    ['an empty file', '', /^not JSON: expected a value, found the end/],
    ['a cut file', JSON.stringify(family).slice(0, 200), /^not JSON/],
    ['a list', '[]', /^the manifest is \[\]: must be object/],
    [
      'a key twice',
      JSON.stringify(family).replace('{', '{"name":"tiny",'),
      /the key "\$.name" is given twice/,
    ],
    [
      'another format',
      set('facet-family/9', 'format'),
      /^format is "facet-family\/9", expected "facet-family\/1"/,
    ],
    ['a missing field', set(undefined, 'license'), /^the manifest lacks "license"/],
    ['an unknown field', set(3, 'input', 'depth'), /^input has the unknown field "depth"/],
    ['a bad name', set('../up', 'name'), /^name is "..\/up": must match pattern/],
    [
      'an unknown kernel',
      set('box', 'input', 'kernel'),
      /^input.kernel is "box", expected one of nearest, linear/,
    ],
    ['no features', set(0, 'features'), /^features is 0: must be >= 1/],
    ['a std of zero', set(0, 'input', 'std', '1'), /^input.std.1 is 0: must be > 0/],
    [
      'two channels',
      set([0.5, 0.4], 'input', 'mean'),
      /^input.mean is \[0.5,0.4\]: must NOT have fewer than 3 items/,
    ],
    ['a negative size', set(-4, 'slots', '1', 'out'), /^slots.1.out is -4: must be >= 1/],
    ['a fractional size', set(1.5, 'slots', '1', 'in'), /^slots.1.in is 1.5: must be integer/],
    [
      'a file outside',
      set({ sha256: '0'.repeat(64), bytes: 0 }, 'files', '../x'),
      /^files has the key "..\/x", which is not a plain file name/,
    ],
    ['no trunk for f16', set(undefined, 'files', 'trunk.f16.onnx'), /^files lacks "trunk.f16.onnx"/],
    ['no list of graphs, but an empty one', set([], 'graphs'), /^graphs is \[\]: must NOT have fewer/],
    [
      'a graph that is no file of the family',
      set([{ ...graph, file: 'other.onnx' }], 'graphs'),
      /^graphs.0.file is "other.onnx", which is not one of files$/,
    ],
    [
      'a graph named like what every object has',
      set([{ ...graph, file: 'toString' }], 'graphs'),
      /^graphs.0.file is "toString", which is not one of files$/,
    ],
    [
      'two graphs for one need',
      set([graph, { ...graph, file: 'trunk.one.onnx' }], 'graphs'),
      /^graphs.1 is for batches of any domains, f32 bank, f32 weights, as graphs.0 is$/,
    ],
    [
      'a graph that says nothing of its bank',
      set([{ ...graph, bank: undefined }], 'graphs'),
      /^graphs.0 lacks "bank"/,
    ],
    [
      'a short hash',
      set('ab', 'files', 'trunk.onnx', 'sha256'),
      /^files.trunk.onnx.sha256 is "ab": must match/,
    ],
    [
      'a crop larger than the image',
      set(7, 'input', 'resize'),
      /^input.resize is 7, smaller than the crop of 8x8/,
    ],
    [
      'a slot named twice',
      first((s) => (s.name = 'norm')),
      /^slots.2.name is "norm", the name of slots.0 already/,
    ],
    ['a slot named head', first((s) => (s.name = 'head')), /^slots.0.name is "head", which a pack uses/],
    [
      'too many columns',
      manifest((edited) => {
        edited.slots[0]!.columns = 4
        edited.parameters.adapter += 4
      }),
      /^slots.0.columns is 4, at most 3/,
    ],
    [
      'a rank above the width',
      manifest((edited) => {
        edited.slots[1]!.rank = 5
        edited.parameters.adapter += 5 * (5 + 4) - 5 * 4
      }),
      /^slots.1.rank is 5, but a matrix of 5 rows and 4 columns has at most 4/,
    ],
    [
      'a wide kernel of a pointwise convolution',
      first((s) => (s.kind = 'pointwise')),
      /^slots.0.kernel is 3x3, but a pointwise convolution has 1x1/,
    ],
    [
      'a matrix of a depthwise convolution',
      manifest((edited) => {
        edited.slots[0]!.kind = 'depthwise'
        edited.parameters.adapter -= 4 * 3
      }),
      /^slots.0.columns is 3, but a depthwise convolution takes no matrix/,
    ],
    [
      'a norm that changes channels',
      set(4, 'slots', '2', 'in'),
      /^slots.2.out is 5, but a normalisation .* \(4\)/,
    ],
    ['a wrong count', set(1, 'parameters', 'adapter'), /^parameters.adapter is 1, but the slots hold 60/],
    [
      'another fingerprint',
      manifest((m) => (m.fingerprint = 'a'.repeat(64)), false),
      /^fingerprint is "a{64}", but .* give "[0-9a-f]{64}"/,
    ],
    [
      'slots changed behind the fingerprint',
      manifest((m) => (m.slots[0]!.stride = [2, 2]), false),
      /^fingerprint is/,
    ],
  ]
  for (const [what, text, expected] of attacks) {
    const problems = await parsing(text)
    t.equal(problems.length, 1, `${what}: one problem (${problems.join('; ')})`)
    t.match(problems[0], expected, what)
  }
})

t.test('all problems are listed at once, under the file', async (t) => {
  const text = manifest((edited) => {
    edited.features = -1
    edited.slots[0]!.columns = 0.5
    edited.license = ''
  })
  const { problems, message } = await problemsOf(() => parseManifest(text, '/models/tiny/family.json'))
  t.match([...problems].sort(), [/^features is -1/, /^license is ""/, /^slots.0.columns is 0.5/])
  t.match(message, /^\/models\/tiny\/family.json is broken:\n {2}- /)
})

/** A folder as `facet family build` leaves it; `change` runs on the files before they are hashed. */
async function folder(
  t: Test,
  options: { base?: Pack; graphs?: GraphVariant[]; after?: (dir: string) => Promise<unknown> } = {},
): Promise<string> {
  const files: Record<string, Uint8Array> = {
    'trunk.onnx': new Uint8Array([1, 2, 3]),
    'trunk.f16.onnx': new Uint8Array([4, 5]),
    'trunk.one.onnx': new Uint8Array([6]),
    'trunk.one.f16.onnx': new Uint8Array([7, 8]),
    'trunk.weights': new Uint8Array(100),
    'base.safetensors': writePack(options.base ?? tinyPack(family), family, { dtype: 'f32' }),
  }
  const dir = t.testdir({})
  const signed: FamilyManifest = {
    ...structuredClone(family),
    ...(options.graphs && { graphs: options.graphs }),
  }
  for (const [name, bytes] of Object.entries(files)) {
    signed.files[name] = { sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length }
    await writeFile(path.join(dir, name), bytes)
  }
  await writeFile(path.join(dir, 'family.json'), JSON.stringify(signed))
  await options.after?.(dir)
  return dir
}

t.test('a valid folder is read whole', async (t) => {
  const dir = await folder(t)
  const read = await readFamily(path.relative(process.cwd(), dir))
  t.equal(read.dir, dir)
  t.equal(read.manifest.fingerprint, family.fingerprint)
  t.same(read.base, tinyPack(family))
  t.equal(read.layout.elements, 6 + family.parameters.adapter)
})

t.test('a manifest without a list of graphs means the files of before there was one', async (t) => {
  const dir = await folder(t)
  const read = await readFamily(dir)
  t.equal(read.manifest.graphs, undefined)
  const files = (['any', 'one'] as const).map((serves) =>
    (['f32', 'f16'] as const).map((bank) => read.graph({ serves, bank })),
  )
  t.same(files, [
    [path.join(dir, 'trunk.onnx'), path.join(dir, 'trunk.f16.onnx')],
    [path.join(dir, 'trunk.one.onnx'), path.join(dir, 'trunk.one.f16.onnx')],
  ])
})

t.test(
  'graphs are found by what they serve; variants with weights of a later version are left alone',
  async (t) => {
    const graphs: GraphVariant[] = [
      { serves: 'any', bank: 'f32', weights: 'int4', file: 'trunk.weights' },
      { serves: 'any', bank: 'f32', weights: 'int8', file: 'trunk.f16.onnx' },
      { serves: 'any', bank: 'f32', weights: 'f32', file: 'trunk.onnx' },
      { serves: 'one', bank: 'f32', weights: 'f32', file: 'trunk.one.onnx' },
      { serves: 'any', bank: 'f32', weights: 'int4-own', file: 'trunk.weights' },
      { serves: 'any', bank: 'f32', weights: 'int8-own', file: 'trunk.one.f16.onnx' },
    ]
    const dir = await folder(t, { graphs })
    const read = await readFamily(dir)
    t.same(read.manifest.graphs, graphs)
    t.equal(read.graph({ serves: 'any', bank: 'f32' }), path.join(dir, 'trunk.onnx'))
    t.equal(read.graph({ serves: 'any', bank: 'f32', precision: 'int8' }), path.join(dir, 'trunk.f16.onnx'))
    t.equal(
      read.findGraph({ serves: 'any', bank: 'f32', precision: 'int8', own: true }),
      path.join(dir, 'trunk.one.f16.onnx'),
    )
    t.equal(read.findGraph({ serves: 'any', bank: 'f32', own: true }), undefined)
    t.throws(() => read.graph({ serves: 'one', bank: 'f32', precision: 'int8' }), {
      message:
        /no graph for batches of one domain, f32 bank, int8 weights, only for: .*Make it .*family quantize/,
    })
    t.throws(() => read.graph({ serves: 'one', bank: 'f16' }), {
      name: 'FamilyError',
      message: /no graph for batches of one domain, f16 bank, only for: .*Build it again .*family build/,
    })
  },
)

t.test('a folder that is not what its manifest says is refused, file by file', async (t) => {
  const broken = async (dir: string) => (await problemsOf(() => readFamily(dir))).problems
  t.match(await broken(t.testdir({})), [/cannot be read: no such file/])
  t.match(await problemsOf(() => readFamily('/nowhere/at/all')), {
    message: /\/nowhere\/at\/all\/family.json is broken/,
  })

  const damaged = await folder(t, {
    after: async (dir) => {
      await writeFile(path.join(dir, 'trunk.onnx'), new Uint8Array([1, 2, 4]))
      await writeFile(path.join(dir, 'trunk.weights'), new Uint8Array(99))
    },
  })
  t.match(await broken(damaged), [
    /^trunk.onnx has the SHA-256 "[0-9a-f]{64}", the manifest says/,
    /^trunk.weights has 99 bytes, the manifest says 100$/,
  ])
})

t.test('a base that is not whole is refused', async (t) => {
  const base = tinyPack(family)
  base.slots.delete('norm')
  const dir = await folder(t, { base })
  const { problems, message } = await problemsOf(() => readFamily(dir))
  t.same(problems, ['slot "norm" is missing: the base pack must give every slot'])
  t.match(message, /base.safetensors is broken/)
})

t.test('a base of another family is refused', async (t) => {
  const dir = await folder(t)
  const other = structuredClone(JSON.parse(JSON.stringify(family)) as FamilyManifest)
  const bytes = writePack(
    { ...tinyPack(family), family: 'x' },
    { ...family, fingerprint: 'x' },
    { dtype: 'f32' },
  )
  other.files = Object.fromEntries(
    Object.entries({
      'trunk.onnx': new Uint8Array([1, 2, 3]),
      'trunk.f16.onnx': new Uint8Array([4, 5]),
      'trunk.one.onnx': new Uint8Array([6]),
      'trunk.one.f16.onnx': new Uint8Array([7, 8]),
      'base.safetensors': bytes,
    }).map(([name, content]) => [
      name,
      { sha256: createHash('sha256').update(content).digest('hex'), bytes: content.length },
    ]),
  )
  await writeFile(path.join(dir, 'base.safetensors'), bytes)
  await writeFile(path.join(dir, 'family.json'), JSON.stringify(other))
  const { problems } = await problemsOf(() => readFamily(dir))
  t.match(problems, [/^family is "x".*belongs to another family/])
})
