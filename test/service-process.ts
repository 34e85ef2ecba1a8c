/**
 * Runs the real program as its own process, and sends requests that tell when the server has received them.
 *
 * `src` is compiled to plain JavaScript first, so that the child runs what users run, without a loader for
 * tests.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { nativeWithFaults, runtime } from './engine-rig.js'
import { transpile } from './loader/transpile.mjs'

const ROOT = join(import.meta.dirname, '..')

/** The options for one small family. */
export const ONE_FAMILY = ['--family', join(ROOT, 'models', 'resnet26-half')]

/**
 * Compiles the program and returns the path of its entry file.
 * @param dir a folder inside the repository, so that `node_modules` is found
 * @param places folders and files of TypeScript to compile; with `bench` and `test` measurements can be run too
 * @param native the add-on that it finds, if any
 */
export async function compileProgram(
  dir: string,
  places = ['src'],
  native = runtime === 'native' ? nativeWithFaults : undefined,
): Promise<string> {
  const names = await Promise.all(
    places.map(async (place) => {
      if (place.endsWith('.ts')) return existsSync(join(ROOT, place)) ? [place] : [place.replace(/ts$/, 'js')]
      const inside = await readdir(join(ROOT, place), { recursive: true })
      return inside.map((name) => join(place, name))
    }),
  )
  for (const name of names.flat()) {
    const [source, target] = [join(ROOT, name), join(dir, name)]
    await mkdir(dirname(target), { recursive: true })
    if (name.endsWith('.ts')) await writeFile(target.replace(/\.ts$/, '.js'), transpile(source))
    // What is compiled already.
    else if (/\.([cm]?js|json)$/.test(name)) await cp(source, target)
  }
  const { files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { files: string[] }
  // What the package has beside what is compiled here and the add-on.
  for (const name of ['package.json', ...files.filter((file) => !file.includes('/'))])
    await symlink(join(ROOT, name), join(dir, name))
  if (native !== undefined) {
    const build = join(dir, 'native', 'build')
    await mkdir(build, { recursive: true })
    await symlink(native, join(build, `facet-${process.platform}-${process.arch}.node`))
  }
  return join(dir, 'src', 'cli.js')
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  out: string
  err: string
}

export interface ProgramOptions {
  /** Limit of the process's file descriptors. */
  openFiles?: number
  /** A module that the process and its threads load first. */
  preload?: string
  /** The folder it runs in. */
  cwd?: string
  /** It is process 1 of a PID namespace of its own, as in a container. */
  asInit?: boolean
}

export class Program {
  readonly #child: ChildProcess
  readonly #asInit: boolean
  #init = 0
  readonly exit: Promise<Exit>
  #out = ''
  #err = ''

  /** @param args of `facet` */
  constructor(cli: string, args: string[], { openFiles, preload, cwd, asInit = false }: ProgramOptions = {}) {
    const own = [process.execPath, ...(preload === undefined ? [] : ['--import', preload]), cli, ...args]
    const alone = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child', ...own]
    const limit = openFiles === undefined ? '' : `ulimit -n ${openFiles} && `
    // tap would have the child load its hooks, which take signals over.
    const bare = ['-c', `unset NODE_OPTIONS && ${limit}exec "$0" "$@"`, ...(asInit ? alone : own)]
    this.#asInit = asInit
    const env = { FACET_RUNTIME: runtime, ...(asInit && { PATH: process.env.PATH }) }
    this.#child = spawn('/bin/sh', bare, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child.stdout!.on('data', (bytes: Buffer) => {
      this.#out += bytes.toString()
    })
    this.#child.stderr!.on('data', (bytes: Buffer) => {
      this.#err += bytes.toString()
    })
    this.exit = once(this.#child, 'close').then(([code, signal]) => {
      return { code, signal, out: this.#out, err: this.#err }
    })
  }

  /** Waits for the log line with this message. @throws Error if the process ends without it */
  async logged(message: string): Promise<Record<string, unknown>> {
    return JSON.parse(await this.printed(`"msg":"${message}"`)) as Record<string, unknown>
  }

  /** Waits for a line with this text. @throws Error if the process ends without it */
  async printed(text: string): Promise<string> {
    let ended = false
    void this.exit.then(() => {
      ended = true
    })
    for (;;) {
      const lines = this.#out.split('\n').slice(0, -1)
      const line = lines.find((line) => line.includes(text))
      if (line !== undefined) return line
      if (ended) throw new Error(`no ${text} from the process: ${this.#out}${this.#err}`)
      await Promise.race([once(this.#child.stdout!, 'data'), this.exit])
    }
  }

  /** The URL at which it listens. */
  async url(): Promise<string> {
    return String((await this.logged('listening')).url)
  }

  get pid(): number {
    return this.#child.pid!
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.#asInit) this.#child.kill(signal)
    else if (this.#child.exitCode === null && this.#child.signalCode === null) {
      try {
        process.kill(this.#initOf(this.#child.pid!), signal)
      } catch (error) {
        // It has ended, and `unshare` is about to.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    }
  }

  /** The process that `unshare` made, by its number here. */
  #initOf(pid: number): number {
    // The kernel's list of children may miss one now and then.
    while (this.#init === 0) this.#init = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'))
    return this.#init
  }
}

export interface Answer {
  status: number
  body: string
}

/** A request whose head is sent, and whose body waits for the server's `100 Continue`. */
export interface Sent {
  /** Resolves when the server has the head: from then on the request is in flight. */
  admitted: Promise<void>
  /** Sends a part of the body. */
  write(bytes: Uint8Array): void
  /** Sends the rest of the body. */
  end(bytes: Uint8Array): void
  answer: Promise<Answer>
}

/** @param length bytes of the whole body */
export function open(url: string, method: string, path: string, type: string, length: number): Sent {
  const headers = { 'content-type': type, 'content-length': length, expect: '100-continue' }
  const sent = request(`${url}${path}`, { method, headers, agent: false })
  const answer = once(sent, 'response').then(([response]) => answerOf(response as IncomingMessage))
  const admitted = new Promise<void>((resolve, reject) => {
    sent.once('continue', resolve)
    // An answer without this one is a refusal.
    answer.then(() => reject(new Error('the server did not ask for the body')), reject)
  })
  // A caller may look at only one of the two; the other must not be an unhandled rejection.
  answer.catch(() => {})
  admitted.catch(() => {})
  sent.flushHeaders()
  return {
    admitted,
    write: (bytes) => void sent.write(bytes),
    end: (bytes) => void sent.end(bytes),
    answer,
  }
}

/** Resolves when the service no longer accepts connections. */
export async function refusing(url: string): Promise<void> {
  for (;;) {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    const refused = await Promise.race([
      once(socket, 'connect').then(() => false),
      once(socket, 'error').then(() => true),
    ]).catch(() => true)
    socket.destroy()
    if (refused) return
  }
}

async function answerOf(response: IncomingMessage): Promise<Answer> {
  let body = ''
  for await (const chunk of response.setEncoding('utf8')) body += chunk
  return { status: response.statusCode!, body }
}
