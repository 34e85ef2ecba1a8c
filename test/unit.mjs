/**
 * `npm run test:unit`: the tests for daily work. No type check, no lint, no process besides the tests' own, no kills.
 *
 * Every test file belongs to it but those named here, which take long: they run the service or a store as processes,
 * run the engine's threads, or try very many cases. `npm test` runs all.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'

/** Files, without `.test.ts`, or the beginnings of their names where a `*` follows. */
const SLOW = [
  'service-*', // the whole service
  'samples', // the whole service
  'soak', // the whole service
  'store-kill', // processes that are killed
  'store-lock', // processes that share a folder
  'store-recovery', // power cuts after every prefix of many changes
  'engine-*', // the engine's threads
  'canary', // the engine's threads
  'family-*', // families built, and checked in the engine
  'compiler-equality', // families built and run
  'compiler-names', // families built and run
  'registry-engine', // the engine's threads
  'registry-interleavings', // many random orders of events
  'scheduler-fairness', // long simulations
  'pack-write', // many random packs
  'image-plain', // many sizes of images
  'fuzz-*', // many mutated inputs
  'naive', // type checks many changed copies
  'store-faults', // every operation of a store, with every error
  'http-limits', // sockets and time limits
  'http-sockets', // sockets and time limits
]

/** @param {string} name without `.test.ts` */
const isSlow = (name) =>
  SLOW.some((slow) => (slow.endsWith('*') ? name.startsWith(slow.slice(0, -1)) : name === slow))

const files = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.test.ts') && !isSlow(file.slice(0, -'.test.ts'.length)))
  .map((file) => `test/${file}`)

const { status } = spawnSync('npx', ['tap', ...process.argv.slice(2), ...files], { stdio: 'inherit' })
process.exitCode = status ?? 1
