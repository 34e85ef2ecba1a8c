/**
 * `npm run bench:dedicated -- [--family half|full] [--seconds N] [--networks N]`: a domain's dedicated network beside the
 * bank, in one engine of two lanes.
 *
 * - Time of an image, wall and CPU, in batches of one domain by its network, of one domain by the bank, and of eight
 *   domains by the bank; in turn.
 * - What a promotion takes: merging (in this thread), opening.
 * - Private memory of one more network, and what is given back when all go.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Option } from 'commander'
import type { Engine } from '../../src/engine/engine.js'
import { packRow } from '../../src/engine/row.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { command, positive } from '../command.js'
import { machine } from '../machine.js'
import { dedicatedFeatures, makeFamily, randomBackbone, randomPack } from '../networks.js'
import { privateDirtyBytes } from '../processes.js'
import { flow, interleave, median, type Side } from '../statistics.js'
import { batchOf, DOMAINS, LANES, LARGEST, startEngine } from './engines.js'

/** What was merged in this thread is not to be counted. */
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const SLICE_IMAGES = 2 * LANES * LARGEST

const {
  family: name,
  seconds,
  networks,
} = command('bench:dedicated', "A domain's dedicated network beside the bank.")
  .addOption(new Option('--family <name>', 'what is served').choices(['half', 'full']).default('half'))
  .option('--seconds <n>', 'time for each size of batch', positive, 20)
  .option('--networks <n>', 'networks that are opened for the memory, 3 to 8', positive, 8)
  .parse()
  .opts<{ family: string; seconds: number; networks: number }>()

const scratch = await mkdtemp(join(tmpdir(), 'facet-dedicated-'))
try {
  const dir = name === 'half' ? packageFile('models/resnet26-half') : join(scratch, name)
  if (name === 'full') await makeFamily(randomBackbone(), dir)
  const family = await readFamily(dir)
  const engine = await startEngine(family, 'native')
  const memory = await measureMemory(engine, family, Math.min(DOMAINS, Math.max(3, Math.floor(networks))))
  const time = await measureTime(engine, family, seconds)
  console.log(JSON.stringify({ family: name, lanes: LANES, memory, time, machine: machine() }))
  await engine.stop()
} finally {
  await rm(scratch, { recursive: true, force: true })
}

/** Bytes, and milliseconds of the steps of a promotion. */
async function measureMemory(engine: Engine, family: Family, count: number) {
  const merge = await dedicatedFeatures(family)
  const { pixels } = batchOf(family, 1, false)
  const settled = async () => {
    collect()
    await setTimeout(300)
    return privateDirtyBytes(process.pid)
  }
  for (const mixed of [false, true]) await engine.run(batchOf(family, LARGEST, mixed), 1)
  const merging: number[] = []
  const opening: number[] = []
  const cpu: number[] = []
  const bytes = [await settled()]
  for (let row = 1; row <= count; row++) {
    const { tensors } = packRow(randomPack(family, row), family.base, family.manifest, family.layout, 'f32')
    const start = performance.now()
    const network = merge(tensors as Float32Array[])
    merging.push(performance.now() - start)
    const before = process.cpuUsage()
    const opened = await engine.openDedicated(row, network, pixels.slice())
    opening.push(performance.now() - start - merging.at(-1)!)
    const { user, system } = process.cpuUsage(before)
    cpu.push((user + system) / 1000)
    if (!opened.use()) throw new Error('the row changed')
    await engine.run({ pixels: pixels.slice(), rows: Int32Array.of(row) }, 1)
    bytes.push(await settled())
  }
  for (let row = 1; row <= count; row++) if (row !== 3) engine.dropDedicated(row)
  const left = await settled()
  const each = (bytes.at(-1)! - bytes[1]!) / (count - 1)
  const figures = {
    network: each,
    givenBack: (bytes.at(-1)! - left) / (count - 1),
    mergeMs: median(merging),
    openMs: median(opening),
    openCpuMs: median(cpu),
  }
  console.log(
    `one more network ${(each / 1e6).toFixed(2)} MB, given back ${(figures.givenBack / 1e6).toFixed(2)} MB`,
  )
  console.log(
    `merged in ${figures.mergeMs.toFixed(0)} ms, opened in ${figures.openMs.toFixed(0)} ms (CPU ${figures.openCpuMs.toFixed(0)})`,
  )
  return figures
}

/** Row 3 has its network, row 4 has none. */
async function measureTime(engine: Engine, family: Family, seconds: number) {
  const found: Record<number, Record<string, { ms: number; cpuMs: number }>> = {}
  console.log('ms an image   network      one domain   eight domains   (CPU time)')
  for (const images of [1, 2, 3, 4, LARGEST]) {
    const side = (rows: (index: number) => number): Side => {
      const batch = () => ({
        ...batchOf(family, images, false),
        rows: Int32Array.from({ length: images }, (_, index) => rows(index)),
      })
      return () => flow(SLICE_IMAGES, LANES, () => engine.run(batch(), 1), images)
    }
    const slices = await interleave(
      { network: side(() => 3), one: side(() => 4), mixed: side((index) => 1 + (index % DOMAINS)) },
      seconds,
    )
    const of = (side: keyof typeof slices) => ({
      ms: median(slices[side].map(({ ms }) => ms)),
      cpuMs: median(slices[side].map(({ cpuMs }) => cpuMs)),
    })
    const figures = { network: of('network'), one: of('one'), mixed: of('mixed') }
    found[images] = figures
    const show = ({ ms, cpuMs }: { ms: number; cpuMs: number }) =>
      `${ms.toFixed(2)} (${cpuMs.toFixed(2)})`.padStart(13)
    console.log(`batch of ${images} ${show(figures.network)} ${show(figures.one)} ${show(figures.mixed)}`)
  }
  return found
}
