/** The TypeScript client as its package has it: built without Node's types, imported by its entry, it predicts. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import type * as Client from '../src/client/index.js'
import { image, testApp } from './http-app.js'

t.test('built by its own configuration, it predicts', async (t) => {
  const out = t.testdir({ 'package.json': '{ "type": "module" }' })
  const compiler = resolve('node_modules/typescript/bin/tsc')
  const built = spawnSync(process.execPath, [
    compiler,
    '-p',
    'clients/typescript',
    '--outDir',
    join(out, 'dist'),
  ])
  t.equal(built.status, 0, String(built.stdout))
  t.match(readFileSync(join(out, 'dist', 'index.d.ts'), 'utf8'), /paths/)
  const { FacetClient, ApiProblem } = (await import(
    pathToFileURL(join(out, 'dist', 'index.js')).href
  )) as typeof Client
  const { app } = await testApp(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const client = new FacetClient({ url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/` })
  const [result] = await client.predict('colours', image(1, 1), { topK: 1 })
  t.equal(result?.predictions[0]?.label, 'green')
  await t.rejects(client.domain('nope'), ApiProblem)
})

t.test("its version is the package's", async (t) => {
  const version = (file: string) => JSON.parse(readFileSync(file, 'utf8')).version
  t.equal(version('clients/typescript/package.json'), version('package.json'))
})
