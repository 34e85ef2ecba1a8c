/**
 * One backbone as a family: built, checked against its own file, its packs against PyTorch, a mixed batch against each
 * sample alone; and timed beside a plain session of the file.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { checkFamily } from '../../src/commands/family-check.js'
import { startFamilyEngine } from '../../src/commands/family-engine.js'
import { runModel } from '../../src/commands/run-model.js'
import { type BuildOptions, type BuiltFamily, buildFamily } from '../../src/compiler/build.js'
import type { Engine } from '../../src/engine/engine.js'
import { OrtRuntime } from '../../src/engine/runtime/ort.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { availableCores } from '../../src/host/cpu-quota.js'
import { packageFile } from '../../src/host/package.js'
import { elementsOf, slotParts } from '../../src/manifest/kinds/kinds.js'
import type { Pack, SlotWeights } from '../../src/pack/pack.js'
import { writePack } from '../../src/pack/write.js'
import { randomImages } from '../networks.js'
import { random } from '../random.js'
import { median } from '../statistics.js'

/** A network and what is made of it. */
export interface Subject {
  /** In `networks.py`. */
  network: string
  /** Its export. */
  file: string
  design: BuildOptions['design'] | undefined
  /** A folder for the family and what is handed to PyTorch. */
  scratch: string
}

export interface TrialResult {
  /** What the design opened, by kind of slot. */
  slots: Record<string, number>
  features: number
  /** Parameters of a pack without its head, as a share of the trunk's. */
  share: number
  featuresAt: string
  chosen: string
  notes: string[]
  /** Largest difference to the file in onnxruntime, relative to the largest feature. */
  backbone: number
  /** The same between a mixed batch and each sample alone. */
  alone: number
  /** The same between a mixed batch of random packs and PyTorch; undefined where there is none to compare with. */
  pytorch?: number
  buildSeconds: number
  ratio?: Ratio
}

/** Time of a batch over that of a plain session of the file, both float32 on the same threads: median of rounds. */
export interface Ratio {
  /** A batch of four domains; for a family without slots the base's. */
  mixed: number
  /** One of as many images of one domain. */
  one: number
}

/** Rows of a batch: the base, and three packs. */
const ROWS = [2, 0, 3, 1]
const ROUNDS = 9
const SIZE = 224

/** A family in an engine, with packs in its rows. */
interface Opened {
  built: BuiltFamily
  bytes: Uint8Array
  dir: string
  family: Family
  packs: readonly Pack[]
  rows: readonly number[]
  images: readonly Uint8Array[]
  engine: Engine
}

/**
 * Builds a family and compares its answers.
 *
 * @param python runs the comparison with PyTorch; undefined leaves it out
 */
export async function compare(subject: Subject, python: string | undefined): Promise<TrialResult> {
  const start = performance.now()
  const built = await build(subject)
  const buildSeconds = (performance.now() - start) / 1000
  return opened(subject, built, async (it) => {
    const { slots, features, parameters } = built.manifest
    const kinds: Record<string, number> = {}
    for (const { kind } of slots) kinds[kind] = (kinds[kind] ?? 0) + 1
    const backbone = await checkFamily(it.dir, { ...built.backbone, bytes: it.bytes }, false)
    const mixed = await run(it, it.rows)
    let alone = 0
    for (const [at, row] of it.rows.entries()) {
      const found = await run(it, [row], [it.images[at]!])
      alone = Math.max(alone, difference(found, mixed.subarray(at * features, (at + 1) * features)))
    }
    const pytorch = python && (await oracle(python, subject, it))
    return {
      slots: kinds,
      features,
      share: parameters.adapter / parameters.trunk,
      featuresAt: built.features,
      chosen: built.chosen,
      notes: built.notes,
      backbone,
      alone,
      ...(pytorch && { pytorch: difference(mixed, pytorch) }),
      buildSeconds,
    }
  })
}

/** Builds a family and times it beside a plain session, in turn. */
export async function time(subject: Subject): Promise<Ratio> {
  return opened(subject, await build(subject), async (it) => {
    const { images, rows, bytes, built } = it
    const runtime = new OrtRuntime({ kind: 'cpu' }, availableCores())
    const session = await runtime.open(bytes)
    try {
      const dims = built.backbone.channelsLast ? [SIZE, SIZE, 3] : [3, SIZE, SIZE]
      const values = Float32Array.from(Buffer.concat([...images]), (value) => value / 255)
      const tensor = runtime.tensor('float32', values, [images.length, ...dims])
      const sides = {
        plain: () => session.run({ [session.inputNames[0]!]: tensor }, session.outputNames[0]!),
        mixed: () => run(it, rows),
        one: () =>
          run(
            it,
            rows.map(() => rows[0]!),
          ),
      }
      const ratios = { mixed: [] as number[], one: [] as number[] }
      for (let round = 0; round <= ROUNDS; round++) {
        const plain = await timed(sides.plain)
        for (const side of ['mixed', 'one'] as const) {
          const ratio = (await timed(sides[side])) / plain
          if (round > 0) ratios[side].push(ratio)
        }
      }
      return { mixed: median(ratios.mixed), one: median(ratios.one) }
    } finally {
      await session.release()
    }
  })
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

async function build({ network, file, design }: Subject): Promise<BuiltFamily> {
  const options: BuildOptions = {
    name: 'trial',
    ...(design && { design }),
    height: SIZE,
    width: SIZE,
    kernel: 'linear',
    fp16: false,
    license: 'none',
    source: network,
    created: '2026-01-01T00:00:00.000Z',
    tool: 'facet bench',
  }
  return buildFamily(await readFile(file), options, runModel)
}

/** Does something with a family that runs. */
async function opened<T>(
  { file, scratch }: Subject,
  built: BuiltFamily,
  work: (it: Opened) => Promise<T>,
): Promise<T> {
  const dir = join(scratch, 'family')
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true })
  for (const [part, content] of built.files) await writeFile(join(dir, part), content)
  built.files.clear()
  const family = await readFamily(dir)
  const packs = family.manifest.slots.length === 0 ? [] : [1, 2, 3].map((seed) => packAround(family, seed))
  const rows = packs.length === 0 ? ROWS.map(() => 0) : ROWS
  const images = randomImages(family, rows.length)
  const engine = await startFamilyEngine(family, packs)
  try {
    return await work({ built, bytes: await readFile(file), dir, family, packs, rows, images, engine })
  } finally {
    await engine.stop()
  }
}

/** The features of so many images. */
async function run(
  { engine, images: all }: Opened,
  rows: readonly number[],
  images = all,
): Promise<Float32Array> {
  const batch = { pixels: Buffer.concat([...images]), rows: Int32Array.from(rows) }
  return (await engine.run(batch, engine.generation)).features
}

/** A domain whose slots lie around the base's. */
function packAround({ manifest, base }: Family, seed: number): Pack {
  const next = random(seed)
  const uniform = (spread: number) => spread * (2 * next() - 1)
  const slots = new Map<string, SlotWeights>()
  for (const slot of manifest.slots) {
    const own = base.slots.get(slot.name)!
    const weights: SlotWeights = {
      scale: own.scale.map((value) => value * (1 + uniform(0.2))),
      bias: own.bias.map((value) => value + uniform(0.1)),
    }
    for (const { name, dims } of slotParts(slot))
      weights[name] ??= Float32Array.from({ length: elementsOf(dims) }, () =>
        uniform(0.5 / Math.sqrt(dims.at(-1)!)),
      )
    slots.set(slot.name, weights)
  }
  return { ...base, labels: null, head: null, slots, mean: [0.45, 0.42, 0.4] }
}

/** The features that PyTorch gives for the same rows and images. */
async function oracle(
  python: string,
  { network, scratch }: Subject,
  { dir, family, packs, images, rows }: Opened,
): Promise<Float32Array> {
  const files = packs.map((_, index) => join(scratch, `pack${index + 1}.safetensors`))
  for (const [index, pack] of packs.entries())
    await writeFile(files[index]!, writePack(pack, family.manifest, { dtype: 'f32' }))
  const [pixels, out] = [join(scratch, 'pixels'), join(scratch, 'features')]
  await writeFile(pixels, Buffer.concat([...images]))
  const script = packageFile('bench/backbones/oracle.py')
  const args = [script, network, '--family', dir, '--rows', rows.join(','), '--pixels', pixels, '--out', out]
  await promisify(execFile)(python, [...args, '--packs', ...files])
  const { buffer } = new Uint8Array(await readFile(out))
  return new Float32Array(buffer)
}

function difference(found: Float32Array, expected: Float32Array): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY
  let [worst, largest] = [0, Number.MIN_VALUE]
  expected.forEach((value, at) => {
    worst = Math.max(worst, Math.abs(found[at]! - value))
    largest = Math.max(largest, Math.abs(value))
  })
  return worst / largest
}
