/**
 * Puts a plain way into the source: finds functions and methods by name, wherever they stand, and gives them
 * another body. A file that moves and a line that changes break nothing; a symbol that is renamed is reported
 * by name.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

/** Another body for one function or method of `src/`. */
export interface Change {
  /** `Class.method` (`Class.#method` for a private one) or the name of a function. */
  symbol: string
  /** Statements. They may call `original(...)`: the function or method as it was. */
  body: string
  /** Declarations for the end of the file, such as a lock that all calls share. */
  declares?: string
}

type Callable = (ts.FunctionDeclaration | ts.MethodDeclaration) & { name: ts.PropertyName; body: ts.Block }

interface Found {
  path: string
  file: ts.SourceFile
  node: Callable
}

/** The source files of a folder, parsed, by the symbols they declare. */
export class Source {
  readonly #texts = new Map<string, string>()
  readonly #found = new Map<string, Found[]>()

  /** @param root the folder that holds `src/` */
  constructor(root: string) {
    for (const path of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
      if (path.endsWith('.ts')) this.#add(root, join('src', path))
    }
  }

  /** All source files, from the root. */
  get paths(): string[] {
    return [...this.#texts.keys()]
  }

  /** A file as it was read. @param path from the root */
  text(path: string): string {
    return this.#texts.get(path)!
  }

  /**
   * The files that the changes concern, as they are with all of them: path from the root to text.
   * @throws Error naming a symbol that is not there, or is there more than once
   */
  with(changes: readonly Change[]): Map<string, string> {
    const edits = new Map<string, Edit[]>()
    for (const change of changes) {
      const { path, ...found } = this.#only(change.symbol)
      edits.set(path, [...(edits.get(path) ?? []), ...editsOf(change, found)])
    }
    return new Map(Array.from(edits, ([path, list]) => [path, edited(this.text(path), list)]))
  }

  #add(root: string, path: string): void {
    const text = readFileSync(join(root, path), 'utf8')
    this.#texts.set(path, text)
    const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true)
    const note = (symbol: string, node: Callable) => {
      this.#found.set(symbol, [...(this.#found.get(symbol) ?? []), { path, file, node }])
    }
    for (const statement of file.statements) {
      if (ts.isFunctionDeclaration(statement) && isCallable(statement)) note(nameOf(statement), statement)
      if (!ts.isClassDeclaration(statement)) continue
      for (const member of statement.members)
        if (ts.isMethodDeclaration(member) && isCallable(member))
          note(`${statement.name?.text}.${nameOf(member)}`, member)
    }
  }

  #only(symbol: string): Found {
    const found = this.#found.get(symbol) ?? []
    if (found.length === 1) return found[0]!
    const where = found.map(({ path }) => path).join(' and ')
    throw new Error(found.length === 0 ? `There is no ${symbol} in src/.` : `${symbol} is in ${where}.`)
  }
}

/** Text that replaces what stands between two positions. */
interface Edit {
  from: number
  to: number
  text: string
}

/** A change that calls `original` leaves the old code beside the new, under another name. */
function editsOf(
  { body, declares }: Change,
  { file, node }: { file: ts.SourceFile; node: Callable },
): Edit[] {
  const edits: Edit[] = []
  const name = nameOf(node)
  const kept = `${name}AsBuilt`
  const isMethod = ts.isMethodDeclaration(node)
  let start = ''
  if (/\boriginal\(/.test(body)) {
    start = isMethod ? `const original = this.${kept}.bind(this)\n` : `const original = ${kept}\n`
    const text = node.getText(file)
    const at = node.name.getStart(file) - node.getStart(file)
    const copy = (text.slice(0, at) + kept + text.slice(at + name.length)).replace(/^export /, '')
    edits.push({ from: node.end, to: node.end, text: `\n\n${copy}` })
  }
  edits.push({ from: node.body.getStart(file), to: node.body.end, text: `{\n${start}${body}\n}` })
  if (declares !== undefined) edits.push({ from: file.end, to: file.end, text: `\n${declares}\n` })
  return edits
}

function edited(text: string, edits: readonly Edit[]): string {
  const lastFirst = [...edits].sort((a, b) => b.from - a.from)
  return lastFirst.reduce((all, { from, to, text }) => all.slice(0, from) + text + all.slice(to), text)
}

function isCallable(node: ts.FunctionDeclaration | ts.MethodDeclaration): node is Callable {
  return node.name !== undefined && node.body !== undefined
}

function nameOf(node: Callable): string {
  return node.name.getText()
}
