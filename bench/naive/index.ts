/**
 * `npm run naive -- [--check] [PAIN ...]`: does each pain's test fail on the plain way of doing it? Each
 * variant is put into a copy of the source, and its test, run there, must fail. Ends with 1 where a test
 * passes. With `--check` no test is run: see check.ts.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { misfits } from './check.js'
import { Source } from './patch.js'
import { type Variant, variants } from './variants.js'

/** A test that hangs on the plain way has failed. */
const TEST_TIMEOUT_SECONDS = 60
const copied = ['src', 'test', 'bench', 'package.json', 'tsconfig.json']
const linked = ['node_modules', 'models', 'adapters', 'samples', 'docs', 'openapi.yaml']

async function main(): Promise<void> {
  const words = process.argv.slice(2)
  const only = words.filter((word) => word !== '--check').map(Number)
  const chosen = variants.filter(({ pain }) => only.length === 0 || only.includes(pain))
  if (words.includes('--check')) check(chosen)
  else await tryAll(chosen)
}

function check(chosen: readonly Variant[]): void {
  const problems = misfits(chosen)
  for (const problem of problems) console.log(problem)
  if (problems.length > 0) process.exitCode = 1
  else console.log(`${chosen.length} plain ways fit the source`)
}

async function tryAll(chosen: readonly Variant[]): Promise<void> {
  const root = resolve('.')
  await mkdir(join(root, '.tap'), { recursive: true })
  const dir = await mkdtemp(join(root, '.tap', 'naive-'))
  try {
    for (const name of copied) await cp(join(root, name), join(dir, name), { recursive: true })
    for (const name of linked) await symlink(join(root, name), join(dir, name))
    const source = new Source(dir)
    for (const variant of chosen) {
      const { failed, first } = await tryOne(dir, source, variant)
      console.log(
        `pain ${variant.pain}, ${variant.way}: ${variant.test} ${failed ? 'fails' : 'PASSES'}${first}`,
      )
      if (!failed) process.exitCode = 1
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Whether the variant's test fails, and the first line that says so. @throws Error as `Source.with` */
async function tryOne(
  dir: string,
  source: Source,
  { changes, test, fails }: Variant,
): Promise<{ failed: boolean; first: string }> {
  const changed = source.with(changes)
  for (const [path, text] of changed) await writeFile(join(dir, path), text)
  try {
    const args = ['node_modules/tap/dist/esm/run.mjs', '--reporter=tap', `--timeout=${TEST_TIMEOUT_SECONDS}`]
    const child = spawn(process.execPath, [...args, `test/${test}.test.ts`], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let out = ''
    child.stdout.on('data', (bytes: Buffer) => {
      out += bytes.toString()
    })
    await once(child, 'close')
    // A test's own line comes after the lines of what failed in it.
    const complaints = out.split('\n').filter((line) => /^\s*not ok/.test(line))
    const at = complaints.findIndex((line) => fails.test(line))
    const first = complaints[Math.max(0, at - 1)]?.trim().slice(0, 150)
    return { failed: at >= 0, first: first === undefined ? '' : ` (${first})` }
  } finally {
    for (const path of changed.keys()) await writeFile(join(dir, path), source.text(path))
  }
}

await main()
