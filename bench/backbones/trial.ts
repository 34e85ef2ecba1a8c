/**
 * One backbone as a family: built, checked against its own file, its packs against PyTorch, a mixed batch against each
 * sample alone, and timed beside a plain session of the file.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pino } from 'pino'
import { checkFamily } from '../../src/commands/family-check.js'
import { runModel } from '../../src/commands/run-model.js'
import { type BuildOptions, buildFamily } from '../../src/compiler/build.js'
import { systemClock } from '../../src/concurrency/clock.js'
import { Engine } from '../../src/engine/engine.js'
import { packRow } from '../../src/engine/row.js'
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
  /** Time of a batch of four domains over that of a plain session of the file, both float32 on the same threads. */
  ratio?: number
}

/** Images of a batch: the base, and three packs. */
const ROWS = [2, 0, 3, 1]
const ROUNDS = 5
const SIZE = 224

/** @param python runs the comparison with PyTorch; undefined leaves it out */
export async function trial(
  name: string,
  file: string,
  design: BuildOptions['design'],
  scratch: string,
  python: string | undefined,
  timed: boolean,
): Promise<TrialResult> {
  const bytes = await readFile(file)
  const options: BuildOptions = {
    name: 'trial',
    ...(design && { design }),
    height: SIZE,
    width: SIZE,
    kernel: 'linear',
    fp16: false,
    license: 'none',
    source: name,
    created: '2026-01-01T00:00:00.000Z',
    tool: 'facet bench',
  }
  const dir = join(scratch, 'family')
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true })
  const start = performance.now()
  const built = await buildFamily(bytes, options, runModel)
  const buildSeconds = (performance.now() - start) / 1000
  for (const [part, content] of built.files) await writeFile(join(dir, part), content)
  built.files.clear()
  const { slots, features, parameters } = built.manifest
  const kinds: Record<string, number> = {}
  for (const { kind } of slots) kinds[kind] = (kinds[kind] ?? 0) + 1
  const backbone = await checkFamily(dir, { ...built.backbone, bytes }, false)

  const family = await readFamily(dir)
  const packs = slots.length === 0 ? [] : [1, 2, 3].map((seed) => packAround(family, seed))
  const rows = packs.length === 0 ? ROWS.map(() => 0) : ROWS
  const images = randomImages(family, rows.length)
  const engine = await startEngine(family, packs)
  try {
    const run = async (images: Uint8Array[], rows: number[]) =>
      (await engine.run({ pixels: Buffer.concat(images), rows: Int32Array.from(rows) }, engine.generation))
        .features
    const mixed = await run(images, rows)
    let alone = 0
    for (const [at, row] of rows.entries())
      alone = Math.max(
        alone,
        difference(await run([images[at]!], [row]), mixed.subarray(at * features, (at + 1) * features)),
      )
    const pytorch = python && (await oracle(python, name, dir, family, packs, images, rows, scratch))
    const result: TrialResult = {
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
    if (timed) result.ratio = await ratio(bytes, images, built.backbone.channelsLast, () => run(images, rows))
    return result
  } finally {
    await engine.stop()
  }
}

async function startEngine(family: Family, packs: readonly Pack[]): Promise<Engine> {
  const engine = new Engine({
    family,
    rows: packs.length + 1,
    bankDtype: 'f32',
    bankMode: 'shared',
    device: { kind: 'cpu' },
    lanes: 1,
    threads: availableCores(),
    logger: pino({ level: 'silent' }),
    clock: systemClock,
  })
  await engine.start()
  const { base, manifest, layout } = family
  for (const [index, pack] of packs.entries())
    await engine.writeRow(index + 1, packRow(pack, base, manifest, layout, 'f32'))
  return engine
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
  name: string,
  dir: string,
  family: Family,
  packs: readonly Pack[],
  images: readonly Uint8Array[],
  rows: readonly number[],
  scratch: string,
): Promise<Float32Array> {
  const files = packs.map((_, index) => join(scratch, `pack${index + 1}.safetensors`))
  for (const [index, pack] of packs.entries())
    await writeFile(files[index]!, writePack(pack, family.manifest, { dtype: 'f32' }))
  const [pixels, out] = [join(scratch, 'pixels'), join(scratch, 'features')]
  await writeFile(pixels, Buffer.concat(images))
  const script = packageFile('bench/backbones/oracle.py')
  const args = [script, name, '--family', dir, '--rows', rows.join(','), '--pixels', pixels, '--out', out]
  await promisify(execFile)(python, [...args, '--packs', ...files])
  const { buffer } = new Uint8Array(await readFile(out))
  return new Float32Array(buffer)
}

/** Median time of a run over that of a plain session of the file, in turn. */
async function ratio(
  file: Uint8Array,
  images: readonly Uint8Array[],
  channelsLast: boolean,
  run: () => Promise<unknown>,
): Promise<number> {
  const runtime = new OrtRuntime({ kind: 'cpu' }, availableCores())
  const session = await runtime.open(file)
  try {
    const dims = channelsLast ? [images.length, SIZE, SIZE, 3] : [images.length, 3, SIZE, SIZE]
    const values = Float32Array.from(Buffer.concat([...images]), (value) => value / 255)
    const feeds = { [session.inputNames[0]!]: runtime.tensor('float32', values, dims) }
    const plain = () => session.run(feeds, session.outputNames[0]!)
    const times = { plain: [] as number[], family: [] as number[] }
    for (let round = 0; round <= ROUNDS; round++)
      for (const [side, go] of [
        ['plain', plain],
        ['family', run],
      ] as const) {
        const start = performance.now()
        await go()
        if (round > 0) times[side].push(performance.now() - start)
      }
    return median(times.family) / median(times.plain)
  } finally {
    await session.release()
  }
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
