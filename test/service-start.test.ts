/** What the real process says when it is up, in both forms of the log; its first command is run as it is printed. */
import { execFile, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { compileProgram, Program } from './service-process.js'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
const dir = t.testdir()
const cli = await compileProgram(dir)
const noCurl = spawnSync('curl', ['--version']).status !== 0 && 'curl is not installed'

let folders = 0
function serve(own: string[], cwd = ROOT): { program: Program; data: string } {
  const data = join(dir, `data-${folders++}`)
  const flags = ['--port', '0', '--lanes', '1', '--bank-memory', '64MiB', '--data', data]
  const program = new Program(cli, ['serve', ...flags, ...own], { cwd })
  t.teardown(() => program.kill('SIGKILL'))
  return { program, data }
}

/** Runs a command in a shell. @returns the answer's body */
async function paste(command: unknown, cwd: string, env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await run('/bin/sh', ['-c', `${String(command)} -sS`], {
    cwd,
    env: { PATH: process.env.PATH, ...env },
  })
  return stdout
}

t.test('what is served, from where, and a command that names the sample', { skip: noCurl }, async (t) => {
  const { program, data } = serve([])
  const line = await program.logged('listening')
  t.match(line, {
    url: /^http:\/\/127\.0\.0\.1:\d+$/,
    family: ['efficientnet-lite0', 'resnet26-half'],
    design: ['parallel', 'parallel'],
    device: 'cpu',
    lanes: 1,
    models: ['efficientnet-lite0', 'resnet26-half'].map((name) => join(dir, 'models', name)),
    adapters: ['efficientnet-lite0', 'resnet26-half'].map((name) => join(dir, 'adapters', name)),
    data,
  })
  const answer = JSON.parse(await paste(line.try, ROOT))
  const [, label, domain] = /@samples\/[^/]+\/(.*)\.\w+ .*\/domains\/(.*)\/predict$/.exec(String(line.try))!
  t.match(answer, { results: [{ domain, predictions: [{ label }] }] })
  const metrics = await (await fetch(`${String(line.url)}/metrics`)).text()
  t.match(metrics, 'facet_requests_total{route="/v1/domains/{domain}/predict",code="500",method="POST"} 0')
  t.match(metrics, 'facet_images_total{domain="sketch",outcome="error"} 0', 'of a domain nobody asked for')
  program.kill('SIGTERM')
  t.match(await program.exit, { code: 0, err: '' })
})

t.test('without domains the command registers one', { skip: noCurl }, async (t) => {
  const adapters = join(dir, 'no-adapters')
  mkdirSync(adapters)
  const { program } = serve(['--adapters', adapters], dir)
  const line = await program.logged('listening')
  t.match(line, { domains: 3, packs: 2, try: / models\/efficientnet-lite0\/base\.safetensors / })
  t.match(JSON.parse(await paste(line.try, dir)), { domain: 'my-domain', residency: 'resident' })
})

t.test('where a token is needed, the command has its place', { skip: noCurl }, async (t) => {
  const tokens = join(dir, 'tokens')
  const sha256 = createHash('sha256').update('secret').digest('hex')
  writeFileSync(tokens, JSON.stringify({ id: 'me', sha256, scopes: ['predict'] }))
  const { program } = serve(['--token-file', tokens])
  const command = (await program.logged('listening')).try
  t.match(command, /^curl --oauth2-bearer \$TOKEN /)
  t.match(await paste(command, ROOT, { TOKEN: 'wrong' }), '"code":"unauthorized"')
  t.match(await paste(command, ROOT, { TOKEN: 'secret' }), '"results"')
})

t.test('a log for people is whole to its last line, and has no colours in a pipe', async (t) => {
  const { program } = serve(['--log-format', 'pretty'])
  await program.printed('INFO: listening')
  const command = await program.printed(' try: ')
  t.match(command, /^ {4}try: curl -F image=@samples\//)
  program.kill('SIGTERM')
  const { code, out } = await program.exit
  t.equal(code, 0)
  t.match(out, /INFO: stopping \{"signal":"SIGTERM"\}\n.*INFO: stopped\n$/)
  t.notMatch(out, '\u001b')
})
