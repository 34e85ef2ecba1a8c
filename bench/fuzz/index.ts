/**
 * `npm run fuzz -- [--packs N] [--seed S]`: feeds a million mutated packs to the reader.
 *
 * Every pack must be refused with a list of problems, or accepted with exactly the content that an
 * independent reader finds. Ends with 1 on a violation, and prints the pack and the seed that makes it again.
 */
import { designs } from '../../src/manifest/manifest.js'
import { tinyFamily, tinyPack } from '../../test/families.js'
import { command, natural, seedOption } from '../command.js'
import { type FuzzCount, fuzzPacks, fuzzTarget } from './pack-fuzz.js'

/** Resident memory above this is a violation: the packs have a few KB. */
const MEMORY_LIMIT_BYTES = 1024 ** 3

const { packs, seed } = command('fuzz', 'Feeds mutated packs to the reader.')
  .option('--packs <n>', 'how many', natural, 1_000_000)
  .addOption(seedOption('packs'))
  .parse()
  .opts<{ packs: number; seed: number }>()

const targets = designs.map((design) => {
  const family = tinyFamily(design)
  return fuzzTarget(family, tinyPack(family))
})

const started = performance.now()
let peak = 0
const show = (count: FuzzCount) => {
  peak = Math.max(peak, process.memoryUsage.rss())
  if (process.stderr.isTTY && count.packs % 10000 === 0) {
    process.stderr.write(`\r${count.packs} of ${packs} packs, ${count.violations.length} violations `)
  }
}
const count = fuzzPacks(targets, seed, (done) => done >= packs, show)
if (process.stderr.isTTY) process.stderr.write('\n')
const seconds = (performance.now() - started) / 1000

for (const { index, steps, what, bytes } of count.violations.slice(0, 10)) {
  console.error(`pack ${index} (${steps.join(', ')}): ${what}\n  ${Buffer.from(bytes).toString('base64')}`)
}
const overMemory = peak > MEMORY_LIMIT_BYTES
if (overMemory) console.error(`resident memory reached ${(peak / 1024 ** 2).toFixed(0)} MiB`)
console.log(
  `${count.packs} packs, ${count.refused} refused, ${count.accepted} accepted, ${count.violations.length} violations, ` +
    `seed ${seed}, ${seconds.toFixed(0)} s, at most ${(peak / 1024 ** 2).toFixed(0)} MiB resident`,
)
process.exitCode = count.violations.length > 0 || overMemory ? 1 : 0
