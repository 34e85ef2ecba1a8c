/**
 * Transpiles TypeScript to JavaScript and caches it on disk by the hash of the source. So test processes and
 * their workers start without loading the compiler, which takes longer than most tests. `npm run typecheck`
 * checks types.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

const require = createRequire(import.meta.url)
/** Part of the cache's key: raise it when the options below change. */
const OPTIONS = 2
const { version } = require('typescript/package.json')
const kept = join(import.meta.dirname, '..', '..', '.tap', 'transpiled')

/**
 * The JavaScript of a TypeScript file, with its source map inside.
 * @param {string} path
 * @returns {string}
 */
export function transpile(path) {
  const source = readFileSync(path, 'utf8')
  const hash = createHash('sha256').update(`${OPTIONS} ${version} ${path} ${source}`).digest('hex')
  const file = join(kept, `${basename(path, '.ts')}-${hash.slice(0, 32)}.js`)
  try {
    return readFileSync(file, 'utf8')
  } catch {
    const output = compile(path, source)
    mkdirSync(kept, { recursive: true })
    // Several processes and workers may write the same file at once.
    const temporary = `${file}.${randomUUID()}`
    writeFileSync(temporary, output)
    renameSync(temporary, file)
    return output
  }
}

/**
 * @param {string} path
 * @param {string} source
 */
function compile(path, source) {
  /** @type {typeof import('typescript')} */
  const ts = require('typescript')
  const compilerOptions = {
    module: ts.ModuleKind.ESNext,
    target: ts.ScriptTarget.ES2022,
    verbatimModuleSyntax: true,
    inlineSourceMap: true,
    // The compiled file may lie elsewhere.
    sourceRoot: `${pathToFileURL(dirname(path)).href}/`,
  }
  return ts.transpileModule(source, { compilerOptions, fileName: path }).outputText
}
