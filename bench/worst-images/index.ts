/**
 * `npm run worst-images -- [--seconds S] [--seed N] [--formats jpeg,png] [--beyond]`: searches for the images that take most
 * memory and most time of those that are accepted, format by format.
 *
 * Each image is made, and decoded by the service's decoder in a process of its own. Ends with 1 where one takes more
 * than was reckoned from its header, or more than the limits. The last line is JSON. With --beyond, images are decoded
 * that the service refuses for their cost: it shows where the reckoning is far too high.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { settings } from '../../src/config/settings.js'
import { MAX_CPU_MS } from '../../src/image/limits.js'
import { Random } from '../../test/random.js'
import { command, positive, seedOption, someOf } from '../command.js'
import { machine } from '../machine.js'
import { avif, gridAvif, repeatedAvif } from './avif.js'
import { gif } from './gif.js'
import { encodedJpeg, scannedJpeg, smallJpeg } from './jpeg.js'
import type { Kind } from './kind.js'
import { png } from './png.js'
import { profiledJpeg, profiledPng } from './profile.js'
import { byMemory, byMemoryRatio, byTime, byTimeRatio, Search, type Trial, worstOf } from './search.js'
import { encodedTiff, tiff } from './tiff.js'
import { animatedWebp, webp } from './webp.js'

const formats: Readonly<Record<string, readonly Kind[]>> = {
  jpeg: [smallJpeg, scannedJpeg, encodedJpeg, profiledJpeg],
  png: [png, profiledPng],
  webp: [webp, animatedWebp],
  gif: [gif],
  avif: [avif, gridAvif, repeatedAvif],
  tiff: [tiff, encodedTiff],
}
const options = command('worst-images', 'Searches for the accepted images that take most memory and time.')
  .option('--seconds <n>', 'for all formats together', positive, 360)
  .addOption(seedOption('images'))
  .addOption(someOf('--formats <names>', Object.keys(formats)))
  .option('--beyond', 'also images that the service refuses for their cost', false)
  .parse()
  .opts<{ seconds: number; seed: number; formats: string[]; beyond: boolean }>()
const { seconds, seed, formats: names } = options

const folder = mkdtempSync(join(tmpdir(), 'worst-images-'))
const MIB = 2 ** 20
/** CPU time that the process's other threads may take meanwhile. */
const NOISE_MS = 20
const memoryLimit = settings.decodeMemory.default
const reports = []
const wrong: Trial[] = []
for (const name of names) {
  const search = new Search(formats[name]!, new Random(seed), folder, options.beyond)
  const end = performance.now() + (seconds / names.length) * 1000
  while (performance.now() < end) show(await search.step())
  reports.push(report(name, search.trials))
  wrong.push(...search.trials.filter(tooCheap))
}
rmSync(folder, { recursive: true })
if (process.stderr.isTTY) process.stderr.write('\n')

console.log('| format | what | parameters | sent | memory, of reckoned | CPU, of reckoned |')
console.log('|---|---|---|---|---|---|')
for (const { rows } of reports) for (const row of rows) console.log(row)
for (const trial of wrong) console.error(`more than was reckoned: ${line('', trial)}`)
console.log(
  JSON.stringify({
    seed,
    ...machine(),
    formats: reports.map(({ json }) => json),
    wrong: wrong.length,
  }),
)
process.exitCode = wrong.length > 0 ? 1 : 0

/** It took more than its header said, or than any image may. An AVIF is ended when it has taken the time it may. */
function tooCheap({ format, measured, estimate }: Trial): boolean {
  if (measured === null) return false
  const { bytes, cpuMs } = measured
  const factor = options.beyond ? Number.POSITIVE_INFINITY : 1
  const tooMuch = bytes > Math.min(estimate!.bytes, memoryLimit * factor)
  const tooLong = cpuMs > Math.min(estimate!.cpuMs + NOISE_MS, MAX_CPU_MS * factor)
  return tooMuch || (tooLong && format !== 'avif')
}

function report(name: string, trials: readonly Trial[]) {
  const worst = {
    'most memory': worstOf(trials, byMemory),
    'most CPU time': worstOf(trials, byTime),
    'nearest to its memory': worstOf(trials, byMemoryRatio),
    'nearest to its CPU time': worstOf(trials, byTimeRatio),
    'smallest refused': smallestRefused(trials),
  }
  const rows = Object.entries(worst).flatMap(([what, trial]) =>
    trial ? [`| ${name} | ${what} ${line('', trial)}`] : [],
  )
  const refused = trials.filter(({ error }) => error?.code === 'image_too_large').length
  return { rows, json: { format: name, tried: trials.length, refused, ...worst } }
}

/** Of those refused for their cost, the one of fewest pixels. */
function smallestRefused(trials: readonly Trial[]): Trial | undefined {
  const pixels = ({ parameters }: Trial) => Number(parameters.megapixels)
  return trials
    .filter(({ error }) => error?.code === 'image_too_large')
    .sort((a, b) => pixels(a) - pixels(b))[0]
}

function line(what: string, { parameters, sent, measured, estimate, error }: Trial): string {
  const told = Object.entries(parameters).map(([name, value]) => `${name} ${value}`)
  const took = (key: 'bytes' | 'cpuMs', unit: string, scale: number) =>
    measured && estimate
      ? `${(measured[key] / scale).toFixed(0)} of ${(estimate[key] / scale).toFixed(0)} ${unit}`
      : ''
  const [memory, time] = [took('bytes', 'MiB', MIB), took('cpuMs', 'ms', 1)]
  const why = error ? ` (${error.message})` : ''
  return `${what}| ${told.join(', ')}${why} | ${sent} | ${memory} | ${time} |`
}

/** Progress: the last image on a terminal, every image in a file. */
function show(trial: Trial | null): void {
  if (trial === null) return
  if (process.stderr.isTTY)
    process.stderr.write(`\r${`${trial.format}: ${line('', trial)}`.slice(0, 100).padEnd(100)}`)
  else process.stderr.write(`${trial.format}${line('', trial)}\n`)
}
