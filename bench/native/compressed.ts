/**
 * `npm run bench:compressed -- [--runtime stock|native] [--ranks 0.5,0.25] [--seconds N]`: families that are compressed
 * beside the whole one, in float32 and in 8 bits.
 *
 * The compressed ones are made here, of the shipped packs of resnet26-half and without images, and quantised on the samples:
 * their speed is that of bases chosen by images. An engine of each family and precision, two lanes busy, eight domains
 * resident, in one process, in turn; wall and CPU time of an image in mixed batches. Ratios are to the whole family in the
 * same precision.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError, Option } from 'commander'
import type { Engine } from '../../src/engine/engine.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { command, positive } from '../command.js'
import { facet } from '../facet.js'
import { machine } from '../machine.js'
import { cpuSpeedup, flow, interleave, median, type Side, speedups } from '../statistics.js'
import { batchOf, LANES, LARGEST, type Runtime, startEngine } from './engines.js'

const NAME = 'resnet26-half'
/** Images of a slice, at least two runs of the largest batch in each lane. */
const SLICE_IMAGES = 2 * LANES * LARGEST
const precisions = ['fp32', 'int8'] as const

const { runtime, ranks, seconds } = command('bench:compressed', 'Compressed families beside the whole one.')
  .addOption(new Option('--runtime <name>', 'what runs them').choices(['stock', 'native']).default('stock'))
  .option('--ranks <shares>', 'shares of the rank, as of facet compress --rank', shares, ['0.5', '0.25'])
  .option('--seconds <n>', 'time for each size of batch', positive, 20)
  .parse()
  .opts<{ runtime: Runtime; ranks: string[]; seconds: number }>()

const scratch = await mkdtemp(join(tmpdir(), 'facet-compressed-'))
try {
  const whole = await readFamily(packageFile(`models/${NAME}`))
  const families = new Map([['whole', whole]])
  for (const rank of ranks) families.set(rank, await compressed(rank))
  const numbers = Object.fromEntries(
    [...families].map(([name, { manifest }]) => [name, manifest.parameters.adapter]),
  )
  console.log(`numbers of an adapter ${JSON.stringify(numbers)}`)
  const time = await measure(families)
  console.log(JSON.stringify({ runtime, seconds, lanes: LANES, numbers, time, machine: machine() }))
} finally {
  await rm(scratch, { recursive: true, force: true })
}

async function compressed(rank: string): Promise<Family> {
  const [out, packs, adapters] = [
    join(scratch, rank),
    join(scratch, `${rank}.packs`),
    packageFile(`adapters/${NAME}`),
  ]
  const files = (await readdir(adapters)).filter((file) => file.endsWith('.safetensors'))
  const family = packageFile(`models/${NAME}`)
  const places = ['--family', family, '--out', out, '--packs', packs, '--name', `${NAME}-${rank}`]
  facet('compress', ...files.map((file) => join(adapters, file)), ...places, '--rank', rank)
  facet('family', 'quantize', out, '--packs', packs, '--images', packageFile('samples'))
  return readFamily(out)
}

interface Times {
  /** Milliseconds an image, medians of rounds. */
  ms: number
  cpuMs: number
  /** Beside the whole family in the same precision: median of rounds, and of all CPU time. */
  ratio: number
  cpuRatio: number
}

/** By size of batch and by side, `<precision>/<family>`. */
async function measure(families: ReadonlyMap<string, Family>) {
  const engines: { side: string; whole: string; family: Family; engine: Engine }[] = []
  for (const precision of precisions)
    for (const [name, family] of families) {
      const engine = await startEngine(family, runtime, { precision })
      engines.push({ side: `${precision}/${name}`, whole: `${precision}/whole`, family, engine })
    }
  const found: Record<number, Record<string, Times>> = {}
  console.log(
    `ms an image   ${engines.map(({ side }) => side.padStart(18)).join('')}   (CPU time beside whole)`,
  )
  for (const images of [1, 2, 4, LARGEST]) {
    const sideOf = ({ family, engine }: (typeof engines)[number]): Side => {
      return () => flow(SLICE_IMAGES, LANES, () => engine.run(batchOf(family, images, true), 1), images)
    }
    const slices = await interleave(Object.fromEntries(engines.map((of) => [of.side, sideOf(of)])), seconds)
    const times = engines.map(({ side, whole }): [string, Times] => [
      side,
      {
        ms: median(slices[side]!.map(({ ms }) => ms)),
        cpuMs: median(slices[side]!.map(({ cpuMs }) => cpuMs)),
        ratio: median(speedups(slices[whole]!, slices[side]!)),
        cpuRatio: cpuSpeedup(slices[whole]!, slices[side]!),
      },
    ])
    found[images] = Object.fromEntries(times)
    const show = ([, { ms, ratio, cpuRatio }]: [string, Times]) =>
      `${ms.toFixed(2)} ${ratio.toFixed(2)} (${cpuRatio.toFixed(2)})`.padStart(18)
    console.log(`batch of ${images}    ${times.map(show).join('')}`)
  }
  await Promise.all(engines.map(({ engine }) => engine.stop()))
  return found
}

function shares(text: string): string[] {
  const given = text.split(',')
  if (given.every((share) => Number(share) > 0 && Number(share) <= 1)) return given
  throw new InvalidArgumentError('They are shares, above 0 and 1 at most, with commas between them.')
}
