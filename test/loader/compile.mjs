/**
 * Compiles the program, the measurements and the tests, so that a run of many test files starts processes and threads
 * without a loader. Only what changed is written.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { transpile } from './transpile.mjs'

const ROOT = join(import.meta.dirname, '..', '..')
/** A folder like the repository's root: all that is no code is linked. */
export const COMPILED = join(ROOT, 'dist', 'tested')
const CODE = ['src', 'bench', 'test']
const LEFT_OUT = ['.git', '.tap', 'dist', 'node_modules']

/** Brings `COMPILED` up to date. */
export function compile() {
  for (const folder of CODE) mirror(join(ROOT, folder), join(COMPILED, folder))
  for (const name of readdirSync(ROOT))
    if (![...CODE, ...LEFT_OUT].includes(name)) link(join(ROOT, name), join(COMPILED, name))
}

/**
 * @param {string} source
 * @param {string} target
 */
function mirror(source, target) {
  mkdirSync(target, { recursive: true })
  const entries = readdirSync(source, { withFileTypes: true })
  const kept = new Set(entries.map(({ name }) => name.replace(/\.ts$/, '.js')))
  for (const name of readdirSync(target)) if (!kept.has(name)) rmSync(join(target, name), { recursive: true })
  for (const entry of entries) {
    const [from, to] = [join(source, entry.name), join(target, entry.name)]
    if (entry.isDirectory() && hasCode(from)) mirror(from, to)
    else if (entry.name.endsWith('.ts')) write(to.replace(/\.ts$/, '.js'), transpile(from))
    else if (/\.([cm]?js|json)$/.test(entry.name)) write(to, readFileSync(from, 'utf8'))
    else link(from, to)
  }
}

/** @param {string} folder */
function hasCode(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).some((name) =>
    /\.(ts|[cm]js)$/.test(name),
  )
}

/**
 * @param {string} file
 * @param {string} text
 */
function write(file, text) {
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  // Another run may read it meanwhile.
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
}

/**
 * @param {string} from
 * @param {string} to
 */
function link(from, to) {
  if (!lstatSync(to, { throwIfNoEntry: false })) symlinkSync(from, to)
}
