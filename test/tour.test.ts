/** The commands of docs/tour.md, as they stand there, print what stands there. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { SHIPPED_FAMILIES } from '../src/host/package.js'
import { runService } from './service-rig.js'

/** Runs a block in a folder that has what a clone has. @returns what it prints */
async function shell(block: string, cwd: string): Promise<string> {
  const program = spawn('bash', ['-e', '-c', block], { cwd, stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  program.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const [code] = (await once(program, 'close')) as [number]
  if (code !== 0) throw new Error(`exit code ${code}: ${block}`)
  return text.trimEnd()
}

/** Scores differ a little between processors, and a request's id each time. */
function comparable(text: string): string {
  return text
    .replace(/"score":[\d.e-]+/g, '"score":…')
    .replace(/"version":"[0-9a-f]{64}"/g, '"version":"…"')
    .replace(/"request_id":"[0-9a-f-]{36}"/g, '"request_id":"…"')
    .trimEnd()
}

t.test('commands and what they print', async (t) => {
  const cwd = t.testdir({ data: {} })
  for (const name of ['samples', 'adapters', 'README.md']) symlinkSync(resolve(name), join(cwd, name))
  const families = SHIPPED_FAMILIES.flatMap((name) => ['--family', resolve('models', name)])
  const { url } = await runService(t, [...families, '--data', join(cwd, 'data')])
  const page = readFileSync('docs/tour.md', 'utf8')
  const blocks = [...page.matchAll(/^```sh\n([\s\S]*?)^```\n\n```text\n([\s\S]*?)^```/gm)]
  t.equal(blocks.length, page.match(/^```sh$/gm)?.length)
  for (const [, block, expected] of blocks) {
    const printed = await shell(block!.replaceAll('localhost:8080', new URL(url).host), cwd)
    t.equal(comparable(printed), comparable(expected!), block!)
  }
})
