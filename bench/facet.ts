/** Runs `facet` as a user does, for measurements of what it writes. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const cli = fileURLToPath(new URL('../src/cli.js', import.meta.url))

/** Its report is left out; progress and errors are shown. @throws where it fails */
export function facet(...args: string[]): void {
  execFileSync(process.execPath, [cli, ...args], { stdio: ['ignore', 'ignore', 'inherit'] })
}
