/**
 * The launcher (launcher.ts) as seen from the service, which starts processes through it. To start one itself would hold the
 * calling thread while the kernel copies the service's page tables: 78 ms at 1 GB.
 *
 * A launcher that ends takes its processes with it and is started again, which does hold the thread: so it is not done
 * when somebody asks for a process, and not again and again. Knows not what the processes do.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../../concurrency/clock.js'
import type { End, Order, Report } from './messages.js'

/** A process that the launcher was asked to start. */
export interface Child {
  /** Resolves when it runs: writes to it, and reads from it. */
  readonly stream: Promise<Duplex>
  /** Resolves when it has ended and all that it wrote has been read, or when it could not be started. */
  readonly end: Promise<End>
  kill(): void
}

export interface Starter {
  start(): Child
  /** Ends all processes, and resolves when they are gone. */
  stop(): Promise<void>
}

export interface LauncherClientOptions {
  clock: Clock
  /** Told when the launcher has ended that was not ended by us. */
  ended?: (reason: string) => void
  /** Flags of Node for the launcher and the decoder; those of this process are not handed on. */
  flags?: readonly string[]
  /** What is started; the decoder unless told. */
  command?: readonly string[]
}

/** Environment variables that are handed on: of the loader and the allocator. No process gets a token. */
const KEPT_VARIABLES = /^(LD_PRELOAD|LD_LIBRARY_PATH|GLIBC_TUNABLES|MALLOC_[A-Z_]+)$/
/** Keeps the launcher small, however many processes it starts: V8 would let garbage grow to 48 MB. */
const SMALL = '--max-semi-space-size=1'
/** The least time between two starts of the launcher, ms. */
const RESTART_MS = 10_000

export class LauncherClient implements Starter {
  readonly #options: LauncherClientOptions
  /** Processes that have not ended, of any launcher, by their number. */
  readonly #children = new Map<number, Launched>()
  #next = 0
  /** Undefined between two launchers. */
  #launcher: ChildProcess | undefined
  #cancelRestart = () => {}
  #stopped = false

  constructor(options: LauncherClientOptions) {
    this.#options = options
    this.#launch()
  }

  start(): Child {
    const id = this.#next++
    const child = new Launched(() => this.#order({ id, what: 'kill' }))
    if (this.#launcher === undefined)
      child.over({ started: false, reason: 'the process that starts it has ended; it is started again' })
    else {
      this.#children.set(id, child)
      this.#order({ id, what: 'start' })
    }
    return child
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelRestart()
    const launcher = this.#launcher
    if (launcher === undefined) return
    if (launcher.connected) launcher.disconnect()
    await new Promise((resolve) => launcher.once('exit', resolve).once('error', resolve))
  }

  #launch(): void {
    const { clock, flags = [], command = [process.execPath, ...flags, sibling('decoder')] } = this.#options
    const began = clock.now()
    let launcher: ChildProcess
    try {
      launcher = spawn(process.execPath, [...flags, SMALL, sibling('launcher'), ...command], {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        env: environment(process.env),
      })
    } catch (error) {
      this.#over(began, (error as Error).message)
      return
    }
    this.#launcher = launcher
    // One that ends may do both.
    const over = (reason: string) => {
      if (this.#launcher === launcher) this.#over(began, reason)
    }
    launcher.on('message', (report: Report, stream?: Duplex) => this.#take(report, stream))
    launcher.once('error', ({ message }) => over(message))
    launcher.once('exit', (code, signal) => over(signal ?? `exit ${code}`))
  }

  /** The launcher that was started then has ended, or could not be. */
  #over(began: number, reason: string): void {
    const { clock, ended } = this.#options
    this.#launcher = undefined
    for (const child of this.#children.values()) child.lost()
    this.#children.clear()
    if (this.#stopped) return
    const wait = Math.max(0, began + RESTART_MS - clock.now())
    this.#cancelRestart = clock.after(wait, () => this.#launch())
    ended?.(reason)
  }

  #take({ id, end }: Report, stream: Duplex | undefined): void {
    const child = this.#children.get(id)
    if (end !== undefined) {
      this.#children.delete(id)
      child?.over(end)
    } else if (child === undefined) stream?.destroy()
    else if (stream !== undefined) child.runs(stream)
  }

  /** Nothing where the launcher has ended: then its processes have too. */
  #order(order: Order): void {
    this.#launcher?.send(order, () => {})
  }
}

class Launched implements Child {
  readonly stream: Promise<Duplex>
  readonly end: Promise<End>
  readonly kill: () => void
  #running!: (stream: Duplex) => void
  #ended!: (end: End) => void
  #stream: Duplex | undefined

  constructor(kill: () => void) {
    this.kill = kill
    this.stream = new Promise((resolve) => {
      this.#running = resolve
    })
    this.end = new Promise((resolve) => {
      this.#ended = resolve
    })
  }

  runs(stream: Duplex): void {
    this.#stream = stream
    this.#running(stream)
  }

  /** The report of its end may overtake what it wrote. */
  over(end: End): void {
    if (this.#stream === undefined || this.#stream.closed) this.#ended(end)
    else this.#stream.once('close', () => this.#ended(end))
  }

  /** Its launcher has ended. It ends itself when its stream closes. */
  lost(): void {
    this.#stream?.destroy()
    this.over({ started: true, reason: 'with the process that started it' })
  }
}

function sibling(name: 'launcher' | 'decoder'): string {
  return fileURLToPath(new URL(`./${name}.js`, import.meta.url))
}

function environment(all: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(all).filter(([name]) => KEPT_VARIABLES.test(name)))
}
