/** Starts the built service as its own process, for benchmarks and checks through HTTP. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { packageFile } from '../src/host/package.js'

const cli = fileURLToPath(new URL('../src/cli.js', import.meta.url))

export interface RunningServer {
  url: string
  pid: number
  /** Milliseconds from spawn to the log line `listening`. */
  startMs: number
  /** SIGTERM; resolves with the exit code once the process is gone. */
  stop(): Promise<number | null>
  /** SIGKILL; resolves once the process is gone. */
  kill(): Promise<void>
}

/**
 * Spawns `facet serve` on a free loopback port, with a temporary data folder that `stop` removes, and the family
 * `resnet26-half` alone, of which most figures are.
 * @param args further options of `facet serve`, which may name other families; with `--data` the caller's folder is used
 * and kept
 * @param spawned called with the process before it listens
 * @throws Error with the server's output if it exits before it listens
 */
export async function startServer(
  args: string[] = [],
  env: NodeJS.ProcessEnv = {},
  spawned?: (child: ChildProcess) => void,
): Promise<RunningServer> {
  const owned = args.includes('--data') ? null : await mkdtemp(join(tmpdir(), 'facet-'))
  const data = owned ? ['--data', owned] : []
  const family = args.includes('--family') ? [] : ['--family', packageFile('models/resnet26-half')]
  const start = performance.now()
  const child = spawn(process.execPath, [cli, 'serve', '--port', '0', ...family, ...data, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  spawned?.(child)
  const url = await listening(child)
  return {
    url,
    pid: child.pid!,
    startMs: performance.now() - start,
    async stop() {
      if (alive(child)) {
        const exit = once(child, 'exit')
        child.kill('SIGTERM')
        await exit
      }
      if (owned) await rm(owned, { recursive: true, force: true })
      return child.exitCode
    },
    async kill() {
      if (!alive(child)) return
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    },
  }
}

function alive({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null
}

/** Reads the log up to the line `listening`, and goes on reading it, so that the pipe never fills. */
function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const seen: string[] = []
    child.once('exit', (code) => reject(new Error(`The server exited with ${code}:\n${seen.join('\n')}`)))
    createInterface({ input: child.stdout! }).on('line', (line) => {
      if (seen.length < 50) seen.push(line)
      const url = /"msg":"listening".*?"url":"([^"]+)"|"url":"([^"]+)".*?"msg":"listening"/.exec(line)
      if (url) resolve(url[1] ?? url[2]!)
    })
  })
}
