/**
 * Child processes that answer questions over IPC, and their CPU time and memory as the kernel counts them.
 */
import { type ChildProcess, type ForkOptions, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** What a child sends: the answer to one question, or its error. */
export type Reply = { id: number; answer: unknown } | { id: number; error: string }

/** A script that runs as its own process. It answers questions one at a time, in order. */
export class Child {
  readonly pid: number
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>()
  #next = 0

  private constructor(process: ChildProcess) {
    this.pid = process.pid!
    this.#process = process
    process.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if ('error' in reply) waiting?.reject(new Error(reply.error))
      else waiting?.resolve(reply.answer)
    })
    process.once('exit', (code) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`a benchmark process exited with ${code}`))
    })
  }

  /**
   * Starts a script; resolves when it answers.
   * @param script the compiled file
   * @param env variables beside those of this process
   * @param how options of Node, and the descriptor of a file for its output
   */
  static async start(
    script: URL,
    args: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
    { node = [], output }: { node?: readonly string[]; output?: number } = {},
  ): Promise<Child> {
    const options: ForkOptions = {
      serialization: 'advanced',
      execArgv: [...node],
      env: { ...process.env, ...env },
      stdio: ['inherit', output ?? 'inherit', 'inherit', 'ipc'],
    }
    const child = new Child(fork(fileURLToPath(script), args, options))
    await child.ask({ type: 'hello' })
    return child
  }

  ask<Answer>(question: object): Promise<Answer> {
    const id = this.#next++
    return new Promise<Answer>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject })
      this.#process.send({ ...question, id })
    })
  }

  /** Closes the channel, at which the child ends by itself, and waits for its exit. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return
    const exit = once(this.#process, 'exit')
    this.#process.disconnect()
    await exit
  }
}

/**
 * The child's side: answers each question with what `handle` resolves to; calls `end` once the parent is
 * gone.
 */
export function answer<Question extends { id: number }>(
  handle: (question: Question) => Promise<unknown>,
  end: () => Promise<void>,
): void {
  let tail: Promise<unknown> = Promise.resolve()
  process.on('message', (question: Question) => {
    tail = tail
      .then(() => handle(question))
      .then(
        (result) => process.send?.({ id: question.id, answer: result }),
        (error: Error) => process.send?.({ id: question.id, error: error.stack ?? error.message }),
      )
  })
  process.once('disconnect', () => void tail.then(end))
}

/** Unit of the times in `/proc`; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** CPU time that the process has used so far: user and system, all threads, ms. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The second field, the program's name, is in brackets and may contain spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND
}

/** Bytes of memory that the process shares with no other. */
export function privateBytes(pid: number): number {
  return rollup(pid, /^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)
}

/**
 * The same of a process and all that descend from it, as far as main threads started them. A descendant that ends while
 * it is asked counts nothing.
 */
export function privateBytesOfTree(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean)
  return children.reduce(
    (sum, child) => sum + (unlessEnded(() => privateBytesOfTree(Number(child))) ?? 0),
    privateBytes(pid),
  )
}

function unlessEnded<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ESRCH' || code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * `privateBytes` without clean pages, which the kernel may drop and read again. Those are mostly pages of
 * libraries, which change between private and shared as other processes on the machine start and end.
 */
export function privateDirtyBytes(pid: number): number {
  return rollup(pid, /^Private_Dirty:\s+(\d+) kB$/gm)
}

function rollup(pid: number, lines: RegExp): number {
  let kib = 0
  for (const match of readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1').matchAll(lines))
    kib += Number(match[1])
  return kib * 1024
}
