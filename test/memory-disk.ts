/**
 * A disk in memory that loses what was not fsynced, as POSIX allows:
 *
 * - bytes of a file that were not fsynced may be lost, kept or torn;
 * - a name that is created, renamed or removed is durable only after an fsync of its folder. Until then each
 * change
 *   may be lost or kept, independently of the others and of their order;
 * - a new folder is such a name in its parent;
 * - a failed fsync marks everything as clean: a second fsync succeeds and saves nothing.
 *
 * It is synchronous and deterministic, so that a log of operations can be replayed up to any point.
 */
import type { Entry } from '../src/store/fs.js'
import type { Random } from './random.js'

/**
 * What survives a crash. `killed`: only the process died, and the system keeps all changes, durable or not.
 */
export type Outcome = 'lost' | 'kept' | 'killed' | Random

/** Operations that change a disk. `file` is the number of an open file, in the order of creation. */
export type Operation =
  | { name: 'mkdir'; path: string }
  | { name: 'create'; path: string; file: number }
  | { name: 'write'; file: number; bytes: Uint8Array }
  | { name: 'sync'; file: number; failed: boolean }
  | { name: 'rename'; path: string; to: string }
  | { name: 'remove'; path: string }
  | { name: 'syncFolder'; path: string; failed: boolean }

class FileNode {
  /** The arrays are immutable: a write makes a new one. */
  data: Uint8Array = new Uint8Array()
  durable: Uint8Array = new Uint8Array()
  dirty = false
}

class FolderNode {
  readonly entries = new Map<string, Node>()
  readonly durable = new Map<string, Node>()
  /** The files that a name has stood for since it was last durable. */
  readonly since = new Map<string, (Node | undefined)[]>()
  /** Names that the next fsync makes durable. */
  readonly dirty = new Set<string>()

  set(name: string, node: Node | undefined): void {
    if (node === undefined) this.entries.delete(name)
    else this.entries.set(name, node)
    this.since.set(name, [...(this.since.get(name) ?? []), node])
    this.dirty.add(name)
  }

  sync(failed: boolean): void {
    if (!failed) {
      for (const name of this.dirty) {
        const node = this.entries.get(name)
        if (node === undefined) this.durable.delete(name)
        else this.durable.set(name, node)
        this.since.delete(name)
      }
    }
    this.dirty.clear()
  }
}

type Node = FileNode | FolderNode

/** An error as Node's `fs` throws it, without a stack, which says nothing here and takes long to collect. */
export function fsError(code: string, path: string): NodeJS.ErrnoException {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  const error = Object.assign(new Error(`${code}: injected, '${path}'`), { code })
  Error.stackTraceLimit = limit
  return error
}

export class MemoryDisk {
  #root = new FolderNode()
  readonly #open = new Map<number, FileNode>()

  apply(operation: Operation): void {
    switch (operation.name) {
      case 'mkdir':
        this.#enter(operation.path, new FolderNode())
        return
      case 'create': {
        const node = new FileNode()
        this.#enter(operation.path, node)
        this.#open.set(operation.file, node)
        return
      }
      case 'write': {
        const node = this.#open.get(operation.file)!
        const data = new Uint8Array(node.data.length + operation.bytes.length)
        data.set(node.data)
        data.set(operation.bytes, node.data.length)
        node.data = data
        node.dirty = true
        return
      }
      case 'sync': {
        const node = this.#open.get(operation.file)!
        if (node.dirty && !operation.failed) node.durable = node.data
        node.dirty = false
        return
      }
      case 'rename': {
        const node = this.#file(operation.path)
        this.#parent(operation.to).set(baseName(operation.to), node)
        this.#parent(operation.path).set(baseName(operation.path), undefined)
        return
      }
      case 'remove':
        this.#file(operation.path)
        this.#parent(operation.path).set(baseName(operation.path), undefined)
        return
      case 'syncFolder':
        this.#folder(operation.path).sync(operation.failed)
        return
    }
  }

  list(path: string): string[] {
    return [...this.#folder(path).entries.keys()]
  }

  stat(path: string): Entry {
    const node = this.#find(path)
    if (node instanceof FolderNode) return { bytes: 0, kind: 'folder' }
    return { bytes: node.data.length, kind: 'file' }
  }

  read(path: string): Uint8Array {
    return Uint8Array.from(this.#file(path).data)
  }

  /** A new disk with the state of this one after a crash. */
  crash(outcome: Outcome): MemoryDisk {
    const disk = new MemoryDisk()
    disk.#root = copyFolder(this.#root, outcome, new Map())
    return disk
  }

  #enter(path: string, node: Node): void {
    const parent = this.#parent(path)
    if (parent.entries.has(baseName(path))) throw fsError('EEXIST', path)
    parent.set(baseName(path), node)
  }

  #find(path: string): Node {
    let node: Node = this.#root
    for (const name of partsOf(path)) {
      if (!(node instanceof FolderNode)) throw fsError('ENOTDIR', path)
      const next: Node | undefined = node.entries.get(name)
      if (next === undefined) throw fsError('ENOENT', path)
      node = next
    }
    return node
  }

  #folder(path: string): FolderNode {
    const node = this.#find(path)
    if (node instanceof FolderNode) return node
    throw fsError('ENOTDIR', path)
  }

  #file(path: string): FileNode {
    const node = this.#find(path)
    if (node instanceof FileNode) return node
    throw fsError('EISDIR', path)
  }

  #parent(path: string): FolderNode {
    return this.#folder(path.slice(0, path.lastIndexOf('/')))
  }
}

const parts = new Map<string, string[]>()

/** The names in a path. Cached, since every recovery asks for the same paths. */
function partsOf(path: string): string[] {
  let known = parts.get(path)
  if (known === undefined) {
    known = path.split('/').filter((part) => part !== '')
    parts.set(path, known)
  }
  return known
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** @param copies copies made so far: a file may have two names after a crash, but stays one file */
function copyFolder(from: FolderNode, outcome: Outcome, copies: Map<Node, Node>): FolderNode {
  const to = new FolderNode()
  copies.set(from, to)
  const copy = (node: Node): Node => {
    const made = copies.get(node)
    if (made !== undefined) return made
    return node instanceof FolderNode ? copyFolder(node, outcome, copies) : copyFile(node, outcome, copies)
  }
  for (const name of new Set([...from.entries.keys(), ...from.durable.keys(), ...from.since.keys()])) {
    const survivor = survivorOf(from, name, outcome)
    if (survivor === undefined) continue
    to.entries.set(name, copy(survivor))
    if (outcome !== 'killed') to.durable.set(name, copy(survivor))
  }
  if (outcome === 'killed') {
    for (const [name, node] of from.durable) to.durable.set(name, copy(node))
    for (const [name, states] of from.since) {
      to.since.set(
        name,
        states.map((node) => (node === undefined ? undefined : copy(node))),
      )
    }
    for (const name of from.dirty) to.dirty.add(name)
  }
  return to
}

function survivorOf(folder: FolderNode, name: string, outcome: Outcome): Node | undefined {
  if (outcome === 'lost') return folder.durable.get(name)
  if (outcome === 'kept' || outcome === 'killed') return folder.entries.get(name)
  return outcome.pick([folder.durable.get(name), ...(folder.since.get(name) ?? [])])
}

function copyFile(from: FileNode, outcome: Outcome, copies: Map<Node, Node>): FileNode {
  const to = new FileNode()
  copies.set(from, to)
  to.data = survivingBytes(from, outcome)
  to.durable = outcome === 'killed' ? from.durable : to.data
  to.dirty = outcome === 'killed' && from.dirty
  return to
}

function survivingBytes({ data, durable }: FileNode, outcome: Outcome): Uint8Array {
  if (data === durable) return data
  if (outcome === 'lost') return durable
  if (outcome === 'kept' || outcome === 'killed') return data
  const torn = new Uint8Array(outcome.pick([durable.length, data.length, outcome.below(data.length + 1)]))
  const sector = 32
  for (let start = 0; start < torn.length; start += sector) {
    const source = outcome.pick([data, durable, new Uint8Array()])
    torn.set(source.subarray(start, Math.min(start + sector, torn.length)), start)
  }
  return torn
}
