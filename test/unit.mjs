/**
 * `npm run test:unit`: the tests for daily work. No type check, no lint, no process besides the tests' own, no kills.
 *
 * Every test file belongs to it but those named here. Keep it under half a minute on two cores: starting a file takes
 * 0.4 s of both. `npm test` runs all.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'

/** Files, without `.test.ts`, or the beginning of a name before a `*`. */
const LEFT_OUT = [
  // The whole service, as a process or in this one.
  'service-*',
  'samples',
  'imagenet-family',
  'own-pages',
  'soak',
  // Other processes, sockets, time limits.
  'store-kill',
  'store-lock',
  'http-connections',
  'http-limits',
  'http-sockets',
  // The engine's threads, or families built and run.
  'engine-*',
  'native-lanes',
  'native-exit',
  'canary',
  'registry-engine',
  'family-*',
  'compiler-*',
  // Very many cases.
  'store-recovery',
  'store-faults',
  'registry-interleavings',
  'residency-hot',
  'scheduler-fairness',
  'pack-write',
  'image-apart',
  'image-deadline',
  'image-formats',
  'image-headers',
  'image-plain',
  'image-refusal',
  'small-png',
  'onnx-*',
  'fuzz-*',
  'naive',
  // Pages, dependencies and benchmarks, which a change of code seldom touches.
  'docs',
  'security-doc',
  'dependencies',
  'bench-*',
]

/** @param {string} name without `.test.ts` */
const isLeftOut = (name) =>
  LEFT_OUT.some((one) => (one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : name === one))

const files = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.test.ts') && !isLeftOut(file.slice(0, -'.test.ts'.length)))
  .map((file) => `test/${file}`)

const { status } = spawnSync('npx', ['tap', ...process.argv.slice(2), ...files], { stdio: 'inherit' })
process.exitCode = status ?? 1
