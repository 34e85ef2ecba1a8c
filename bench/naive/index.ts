/**
 * `npm run naive -- [--check] [PAIN ...]`: does each pain's test fail on the plain way of doing it?
 *
 * Each variant is put into a copy of the source, and its test must fail there, and pass on the source as it
 * is. Ends with 1 if not. With `--check` no test is run: it only checks that each variant still fits the
 * source (check.ts).
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { misfits } from './check.js'
import { command, natural } from '../command.js'
import { Source } from './patch.js'
import { type Variant, variants } from './variants.js'

/** A test that hangs on the plain way has failed. */
const TEST_TIMEOUT_SECONDS = 60
const copied = ['src', 'test', 'bench', 'package.json', 'tsconfig.json']
const linked = [
  'node_modules',
  'models',
  'adapters',
  'samples',
  'docs',
  'public',
  'openapi.yaml',
  'openapi.json',
]

async function main(): Promise<void> {
  const called = command('naive', "Does each pain's test fail on the plain way of doing it?")
    .argument(
      '[pains...]',
      'their numbers (default: all)',
      (text, before: number[]) => [...before, natural(text)],
      [],
    )
    .option('--check', 'only whether each plain way fits the source', false)
    .parse()
  const { check } = called.opts<{ check: boolean }>()
  const only: number[] = called.processedArgs[0]
  const chosen = variants.filter(({ pain }) => only.length === 0 || only.includes(pain))
  const problems = misfits(chosen)
  for (const problem of problems) console.log(problem)
  if (problems.length > 0) process.exitCode = 1
  else console.log(`${chosen.length} plain ways fit the source`)
  if (problems.length === 0 && !check) await tryAll(chosen)
}

async function tryAll(chosen: readonly Variant[]): Promise<void> {
  const root = resolve('.')
  await mkdir(join(root, '.tap'), { recursive: true })
  const dir = await mkdtemp(join(root, '.tap', 'naive-'))
  try {
    for (const name of copied) await cp(join(root, name), join(dir, name), { recursive: true })
    for (const name of linked) await symlink(join(root, name), join(dir, name))
    // A test that fails on the source as it is would prove nothing.
    for (const test of new Set(chosen.map((variant) => variant.test))) {
      const complaints = await runTest(dir, test)
      if (complaints.length > 0) throw new Error(`${test} fails without any plain way: ${complaints[0]}`)
    }
    const source = new Source(dir)
    for (const variant of chosen) {
      const { pain, way, test } = variant
      const complaint = await complaintOf(dir, source, variant)
      console.log(
        `pain ${pain}, ${way}: ${test} ${complaint === null ? 'PASSES' : `fails (${complaint.slice(0, 150)})`}`,
      )
      if (complaint === null) process.exitCode = 1
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** What the variant's test complains of; null if it passes. @throws Error as `Source.with` */
async function complaintOf(
  dir: string,
  source: Source,
  { changes, test, fails }: Variant,
): Promise<string | null> {
  const changed = source.with(changes)
  for (const [path, text] of changed) await writeFile(join(dir, path), text)
  try {
    const complaints = await runTest(dir, test)
    const at = complaints.findIndex((line) => fails.test(line))
    // A test's own line comes after the lines of what failed in it.
    return at < 0 ? null : complaints[Math.max(0, at - 1)]!
  } finally {
    for (const path of changed.keys()) await writeFile(join(dir, path), source.text(path))
  }
}

/** Runs a test file in the copy. @returns its lines `not ok`, without those of tests that were never begun */
async function runTest(dir: string, test: string): Promise<string[]> {
  const args = ['node_modules/tap/dist/esm/run.mjs', '--reporter=tap', `--timeout=${TEST_TIMEOUT_SECONDS}`]
  const child = spawn(process.execPath, [...args, `test/${test}.test.ts`], {
    cwd: dir,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let out = ''
  child.stdout.on('data', (bytes: Buffer) => {
    out += bytes.toString()
  })
  const [code] = (await once(child, 'close')) as [number | null]
  const lines = out.split('\n').map((line) => line.trim())
  const complaints = lines.filter((line) => line.startsWith('not ok') && !line.includes('left in queue'))
  if (code !== 0 && complaints.length === 0) complaints.push(`the test program ended with ${code}`)
  return complaints
}

await main()
