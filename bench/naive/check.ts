/**
 * `npm run naive -- --check`: does each plain way still fit the source and type check there? Runs no tests
 * and takes seconds, so it tells at once when a change of the source broke one.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import ts from 'typescript'
import { Source } from './patch.js'
import type { Variant } from './variants.js'

/** What is wrong with each variant, one sentence each; empty where all fit.
 * @param root the folder with `tsconfig.json` and `src/` */
export function misfits(variants: readonly Variant[], root = '.'): string[] {
  const source = new Source(root)
  const types = new TypeChecker(root, source.paths)
  return variants.flatMap(({ pain, changes }) => {
    try {
      return types.errors(source.with(changes)).map((error) => `pain ${pain}: ${error}`)
    } catch (error) {
      return [`pain ${pain}: ${(error as Error).message}`]
    }
  })
}

/** Type checks changed files against the rest of the project, which it reads once. */
class TypeChecker {
  readonly #root: string
  readonly #names: readonly string[]
  readonly #options: ts.CompilerOptions
  readonly #host: ts.CompilerHost
  readonly #files = new Map<string, ts.SourceFile | undefined>()
  #changed: ReadonlyMap<string, string> = new Map()
  #program: ts.Program | undefined

  /** @param paths of all source files, from the root: any of them may declare types for all */
  constructor(root: string, paths: readonly string[]) {
    this.#root = root
    this.#names = paths.map((path) => resolve(root, path))
    const { config } = ts.readConfigFile(resolve(root, 'tsconfig.json'), (path) => readFileSync(path, 'utf8'))
    const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)
    // A plain way leaves parameters, imports and private members without a use.
    this.#options = { ...options, noEmit: true, noUnusedLocals: false, noUnusedParameters: false }
    this.#host = ts.createCompilerHost(this.#options)
    const { getSourceFile } = this.#host
    this.#host.getSourceFile = (name, version, ...rest) => {
      const path = resolve(name)
      const text = this.#changed.get(path)
      if (text !== undefined) return ts.createSourceFile(name, text, version, true)
      if (!this.#files.has(path)) this.#files.set(path, getSourceFile(name, version, ...rest))
      return this.#files.get(path)
    }
  }

  /** @param texts by paths from the root */
  errors(texts: ReadonlyMap<string, string>): string[] {
    this.#changed = new Map(Array.from(texts, ([path, text]) => [resolve(this.#root, path), text]))
    const program = ts.createProgram(this.#names, this.#options, this.#host, this.#program)
    this.#program = program
    return [...texts.keys()].flatMap((path) => {
      const file = program.getSourceFile(resolve(this.#root, path))!
      return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
        (found) => {
          const message = ts.flattenDiagnosticMessageText(found.messageText, ' ')
          const line = file.getLineAndCharacterOfPosition(found.start ?? 0).line + 1
          return `${path}, line ${line} with the plain way in it: ${message}`
        },
      )
    })
  }
}
