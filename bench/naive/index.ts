/**
 * `npm run naive -- [PAIN ...]`: does each pain's test fail on the plain way of doing it? Each variant is put into a
 * copy of the source, its test is run there, and must fail. Ends with 1 where one passes.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Variant, variants } from './variants.js'

/** Seconds; a test that hangs on the plain way has failed. */
const TIME_OUT = 60
const copied = ['src', 'test', 'bench', 'package.json', 'tsconfig.json']
const linked = ['node_modules', 'models', 'adapters', 'samples', 'docs', 'openapi.yaml']

async function main(): Promise<void> {
  const only = process.argv.slice(2).map(Number)
  const root = resolve('.')
  await mkdir(join(root, '.tap'), { recursive: true })
  const dir = await mkdtemp(join(root, '.tap', 'naive-'))
  try {
    for (const name of copied) await cp(join(root, name), join(dir, name), { recursive: true })
    for (const name of linked) await symlink(join(root, name), join(dir, name))
    for (const variant of variants) {
      if (only.length > 0 && !only.includes(variant.pain)) continue
      const { failed, first } = await tried(dir, variant)
      console.log(
        `pain ${variant.pain}, ${variant.way}: ${variant.test} ${failed ? 'fails' : 'PASSES'}${first}`,
      )
      if (!failed) process.exitCode = 1
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Whether the variant's test fails, and what in it. @throws Error where the variant fits our source no more */
async function tried(dir: string, variant: Variant): Promise<{ failed: boolean; first: string }> {
  const path = join(dir, variant.file)
  const source = await readFile(path, 'utf8')
  let changed = source
  for (const { find, replace } of [variant, variant.also].filter((change) => change !== undefined)) {
    const pieces = changed.split(find)
    if (pieces.length !== 2)
      throw new Error(`The variant of pain ${variant.pain} does not fit ${variant.file} any more: mend it.`)
    changed = pieces.join(replace)
  }
  await writeFile(path, changed)
  try {
    const args = ['node_modules/tap/dist/esm/run.mjs', '--reporter=tap', `--timeout=${TIME_OUT}`]
    const child = spawn(process.execPath, [...args, `test/${variant.test}.test.ts`], {
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
    const at = complaints.findIndex((line) => variant.fails.test(line))
    const first = complaints[Math.max(0, at - 1)]?.trim().slice(0, 150)
    return { failed: at >= 0, first: first === undefined ? '' : ` (${first})` }
  } finally {
    await writeFile(path, source)
  }
}

await main()
