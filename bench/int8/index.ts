/**
 * `npm run bench:int8 -- [--family half|full] [--runtime stock|native] [--seconds N]`: the trunk in 8 bits beside float32.
 *
 * Time: an engine of each precision and, at full width, a session of the dedicated network in float32, in one process, in
 * turn; wall and CPU time of an image. Private memory: a process for each figure, two lanes, eight domains resident.
 * `full` has random weights and is quantised here, on images drawn at random: its speed is that of trained weights, its
 * accuracy says nothing.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Option } from 'commander'
import sharp from 'sharp'
import type { Engine } from '../../src/engine/engine.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { command, positive } from '../command.js'
import { facet } from '../facet.js'
import { machine } from '../machine.js'
import { batchOf, LANES, LARGEST, type Runtime, startEngine } from '../native/engines.js'
import { measureMemory } from '../native/memory.js'
import { type Backbone, dedicatedOf, makeFamily, randomBackbone, randomPack } from '../networks.js'
import { random } from '../random.js'
import { cpuSpeedup, flow, interleave, median, type Side } from '../statistics.js'

/** Images of a slice, at least two runs of the largest batch in each lane. */
const SLICE_IMAGES = 2 * LANES * LARGEST
const CALIBRATION_IMAGES = 32

const options = command('bench:int8', 'The trunk in 8 bits beside float32.')
  .addOption(new Option('--family <name>', 'what is served').choices(['half', 'full']).default('half'))
  .addOption(new Option('--runtime <name>', 'what runs it').choices(['stock', 'native']).default('stock'))
  .option('--seconds <n>', 'time for each comparison', positive, 20)
  .parse()
  .opts<{ family: string; runtime: Runtime; seconds: number }>()

const scratch = await mkdtemp(join(tmpdir(), 'facet-int8-'))
try {
  const backbone = options.family === 'full' ? randomBackbone() : undefined
  const dir = backbone ? await quantisedFamily(backbone) : packageFile('models/resnet26-half')
  const family = await readFamily(dir)
  const time = await measureTime(family, backbone)
  const sides = ['fp32', 'int8'].map((precision) => `${options.runtime}/shared/${precision}`)
  const memory = measureMemory(sides, dir)
  console.log(JSON.stringify({ ...options, lanes: LANES, time, memory, machine: machine() }))
} finally {
  await rm(scratch, { recursive: true, force: true })
}

async function quantisedFamily(backbone: Backbone): Promise<string> {
  const [dir, images] = [join(scratch, 'full'), join(scratch, 'images')]
  await makeFamily(backbone, dir)
  await mkdir(images)
  const next = random(5)
  for (let index = 0; index < CALIBRATION_IMAGES; index++) {
    const cells = Uint8Array.from({ length: 6 * 6 * 3 }, () => next() * 256)
    const image = sharp(cells, { raw: { width: 6, height: 6, channels: 3 } }).resize(72, 72)
    await writeFile(join(images, `${index}.png`), await image.png().toBuffer())
  }
  facet('family', 'quantize', dir, '--images', images)
  return dir
}

interface Times {
  /** CPU milliseconds an image, medians of rounds. */
  fp32: number
  int8: number
  dedicated?: number
  /** Speed in 8 bits over that in float32, by all CPU time. */
  speedup: number
}

async function measureTime(family: Family, backbone: Backbone | undefined): Promise<Record<string, Times>> {
  const { runtime, seconds } = options
  const engines = {
    fp32: await startEngine(family, runtime),
    int8: await startEngine(family, runtime, { precision: 'int8' }),
  }
  const dedicated = backbone && (await dedicatedSession(family))
  const found: Record<string, Times> = {}
  console.log('CPU ms an image      fp32    int8  speedup  dedicated fp32')
  for (const mixed of [false, true])
    for (const images of [1, 2, 4, LARGEST]) {
      const side = (engine: Engine): Side => {
        return () => flow(SLICE_IMAGES, LANES, () => engine.run(batchOf(family, images, mixed), 1), images)
      }
      const sides: Record<string, Side> = { fp32: side(engines.fp32), int8: side(engines.int8) }
      if (dedicated) sides.dedicated = () => flow(SLICE_IMAGES, 1, () => dedicated(images), images)
      const slices = await interleave(sides, seconds)
      const of = (side: string) => median(slices[side]!.map(({ cpuMs }) => cpuMs))
      const times = {
        fp32: of('fp32'),
        int8: of('int8'),
        ...(dedicated && { dedicated: of('dedicated') }),
        speedup: cpuSpeedup(slices.int8!, slices.fp32!),
      }
      found[`${mixed ? 'mixed' : 'one'}${images}`] = times
      const show = (value: number) => value.toFixed(2).padStart(7)
      console.log(
        `${mixed ? 'mixed' : 'one  '} batch of ${images} ${show(times.fp32)} ${show(times.int8)}  ${show(times.speedup)}  ${dedicated ? show(times.dedicated!) : ''}`,
      )
    }
  await Promise.all([engines.fp32.stop(), engines.int8.stop()])
  return found
}

/** The dedicated network of a domain, one thread a run, as a session at its best: runs so many images. */
async function dedicatedSession(family: Family): Promise<(images: number) => Promise<unknown>> {
  const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node')
  const network = (await dedicatedOf(family))(randomPack(family, 3))
  const session = await ort.InferenceSession.create(network, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    enableMemPattern: false,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  })
  const { height, width } = family.manifest.input
  return (images) => {
    const pixels = batchOf(family, images, false).pixels
    return session.run({ pixels: new ort.Tensor('uint8', pixels, [images, height, width, 3]) })
  }
}
