/**
 * `npm run bench:native -- [--family half|full|resnet50] [--against stock|onnx] [--before FILE] [--seconds N]`: the
 * native runtime beside the stock one, beside itself without Facet's own operator, or, in time alone, beside the add-on of
 * another build.
 *
 * Private memory: a process for each figure, two lanes, eight domains resident, batches of one domain and of eight. `plain` is the backbone alone in one
 * session of onnxruntime-node, for `resnet50` alone; `full` and `resnet50` have random weights.
 * Time: both engines in one process, in turn, two lanes busy; wall and CPU time of an image.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Option } from 'commander'
import type { Engine } from '../../src/engine/engine.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { command, positive } from '../command.js'
import { machine } from '../machine.js'
import { makeFamily, randomBackbone } from '../networks.js'
import { makeResnet50, resnet50 } from '../race/resnet50.js'
import { cpuSpeedup, flow, interleave, median, type Side, speedups } from '../statistics.js'
import { batchOf, LANES, LARGEST, PLAIN, type Runtime, startEngine } from './engines.js'
import { measureMemory } from './memory.js'

/** Images of a slice, at least two runs of the largest batch in each lane. */
const SLICE_IMAGES = 2 * LANES * LARGEST

const {
  family: name,
  against,
  before,
  seconds,
} = command('bench:native', 'The native runtime beside the stock one.')
  .addOption(
    new Option('--family <name>', 'what is served').choices(['half', 'full', 'resnet50']).default('half'),
  )
  .addOption(
    new Option('--against <runtime>', "stock, or native without Facet's own operator")
      .choices(['stock', 'onnx'])
      .default('stock'),
  )
  .option(
    '--before <file>',
    'an add-on of another build to compare with instead, in time alone',
    (file: string) => resolve(file),
  )
  .option('--seconds <n>', 'time for each comparison', positive, 20)
  .parse()
  .opts<{ family: string; against: Runtime; before?: string; seconds: number }>()

/** What `native` is beside. */
const label = before ? 'before' : against

const scratch = await mkdtemp(join(tmpdir(), 'facet-native-'))
try {
  const dir = name === 'half' ? packageFile('models/resnet26-half') : join(scratch, name)
  if (name === 'full') await makeFamily(randomBackbone(), dir)
  if (name === 'resnet50') {
    await makeResnet50(dir)
    await writeFile(join(dir, PLAIN), resnet50())
  }
  const family = await readFamily(dir)
  const sides = ['native/shared', 'native/compact', `${against}/shared`, `${against}/compact`]
  const memory = before ? undefined : measureMemory(name === 'resnet50' ? ['plain', ...sides] : sides, dir)
  const time = await measureTime(family, seconds)
  console.log(
    JSON.stringify({ family: name, against: label, lanes: LANES, memory, time, machine: machine() }),
  )
} finally {
  await rm(scratch, { recursive: true, force: true })
}

interface Times {
  /** Milliseconds an image. */
  other: number
  native: number
  otherCpu: number
  nativeCpu: number
  /** Speed of native over the other: median of rounds, and of all CPU time. */
  speedup: number
  cpuSpeedup: number
}

async function measureTime(family: Family, seconds: number): Promise<Record<string, Times>> {
  const other = before
    ? await startEngine(family, 'native', { addonFile: before })
    : await startEngine(family, against)
  const native = await startEngine(family, 'native')
  const found: Record<string, Times> = {}
  console.log(`ms an image       ${label}  native  speedup   CPU: ${label}  native  speedup`)
  for (const mixed of [false, true])
    for (const images of [1, 2, 4, LARGEST]) {
      const side = (engine: Engine): Side => {
        return () => flow(SLICE_IMAGES, LANES, () => engine.run(batchOf(family, images, mixed), 1), images)
      }
      const slices = await interleave({ other: side(other), native: side(native) }, seconds)
      const of = (side: 'other' | 'native', key: 'ms' | 'cpuMs') =>
        median(slices[side].map((one) => one[key]))
      const times = {
        other: of('other', 'ms'),
        native: of('native', 'ms'),
        otherCpu: of('other', 'cpuMs'),
        nativeCpu: of('native', 'cpuMs'),
        speedup: median(speedups(slices.native, slices.other)),
        cpuSpeedup: cpuSpeedup(slices.native, slices.other),
      }
      found[`${mixed ? 'mixed' : 'one'}${images}`] = times
      const show = (value: number) => value.toFixed(2).padStart(7)
      console.log(
        `${mixed ? 'mixed' : 'one  '} batch of ${images} ${show(times.other)} ${show(times.native)} ${show(times.speedup)}      ${show(times.otherCpu)} ${show(times.nativeCpu)} ${show(times.cpuSpeedup)}`,
      )
    }
  await Promise.all([other.stop(), native.stop()])
  return found
}
