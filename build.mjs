/**
 * Compiles `src/` and `bench/` into `dist/`, unless nothing has changed since: `npm run build`. The compiler takes seconds
 * to find that out, and every `npm run facet` would wait for it.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const FOLDERS = ['src', 'bench']
/** The compiler's version is in the lock file. */
const FILES = ['tsconfig.json', 'tsconfig.build.json', 'package.json', 'package-lock.json']
/** Its time is when the last compilation that succeeded began. */
const STAMP = join('dist', '.built')

/** When sources changed last. A folder changes where a file of it is added, renamed or removed. */
function lastChange() {
  let latest = 0
  const look = (/** @type {string} */ path) => {
    latest = Math.max(latest, statSync(path).mtimeMs)
  }
  for (const file of FILES) look(file)
  for (const folder of FOLDERS) {
    look(folder)
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) look(join(folder, name))
  }
  return latest
}

process.chdir(fileURLToPath(new URL('.', import.meta.url)))
const began = new Date()
if (!existsSync(STAMP) || lastChange() >= statSync(STAMP).mtimeMs) {
  const compiler = join('node_modules', 'typescript', 'bin', 'tsc')
  const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
  writeFileSync(STAMP, '')
  utimesSync(STAMP, began, began)
}
