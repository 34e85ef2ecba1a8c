/** Engines on either runtime over a family, with eight domains resident, for the comparison of the two. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pino } from 'pino'
import { systemClock } from '../../src/concurrency/clock.js'
import { Engine } from '../../src/engine/engine.js'
import type { BankMode } from '../../src/engine/plan.js'
import { packRow } from '../../src/engine/row.js'
import { loadNative, type NativeAddon } from '../../src/native/addon.js'
import type { Family } from '../../src/family/family.js'
import type { Precision } from '../../src/manifest/graphs.js'
import { randomPack } from '../networks.js'

/** File of the plain network beside the family's. */
export const PLAIN = 'plain.onnx'
export const LANES = 2
export const DOMAINS = 8
/** Images of the largest batch. */
export const LARGEST = 8

/** `onnx`: the native runtime with graphs of ONNX's operators alone, without Facet's own. */
export type Runtime = 'stock' | 'native' | 'onnx'

/**
 * @param warmBatch as the service has it unless given
 * @param addonFile the add-on of another build
 */
export async function startEngine(
  family: Family,
  runtime: Runtime,
  {
    bankMode = 'shared',
    precision = 'fp32',
    warmBatch = LARGEST,
    addonFile,
  }: { bankMode?: BankMode; precision?: Precision; warmBatch?: number; addonFile?: string } = {},
): Promise<Engine> {
  const engine = new Engine({
    family,
    rows: DOMAINS + 1,
    bankDtype: 'f32',
    bankMode,
    precision,
    device: { kind: 'cpu' },
    lanes: LANES,
    threads: 1,
    warmBatch,
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    ...(runtime !== 'stock' && { native: addon(runtime, addonFile) }),
  })
  await engine.start()
  await engine.allLanesReady()
  for (let row = 1; row <= DOMAINS; row++) {
    const pack = randomPack(family, row)
    await engine.writeRow(row, packRow(pack, family.base, family.manifest, family.layout, 'f32'))
  }
  return engine
}

function addon(runtime: 'native' | 'onnx', file?: string): NativeAddon {
  const native = loadNative(file)
  return runtime === 'native' ? native : { ...native, hasOwnOperator: false }
}

/** A batch of so many images, of one domain or of as many as there are. */
export function batchOf({ manifest }: Family, images: number, mixed: boolean) {
  const { height, width } = manifest.input
  return {
    pixels: new Uint8Array(images * height * width * 3).fill(120),
    rows: Int32Array.from({ length: images }, (_, index) => (mixed ? 1 + (index % DOMAINS) : 3)),
  }
}

/** The plain network in a session of onnxruntime-node, one thread a run: runs so many images. */
export async function plainSession(
  dir: string,
  { manifest }: Family,
): Promise<(images: number) => Promise<unknown>> {
  const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node')
  const { height, width } = manifest.input
  const session = await ort.InferenceSession.create(join(dir, PLAIN), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableMemPattern: false,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  })
  return (images) => {
    const dims = [images, 3, height, width]
    const values = new Float32Array(images * 3 * height * width)
    return session.run({ image: new ort.Tensor('float32', values, dims) })
  }
}
