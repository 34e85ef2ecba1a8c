/** The rules for dependencies: this project keeps them, and each way to break them is found. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { checkDependencies, type LockEntry, type LockFile, type Manifest } from '../bench/dependencies.js'

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')
const npmrc = read('.npmrc')

t.test('our own dependencies keep the rules', async (t) => {
  const findings = checkDependencies(
    JSON.parse(read('package.json')) as Manifest,
    JSON.parse(read('package-lock.json')) as LockFile,
    npmrc,
  )
  t.same(findings.violations, [])
  t.ok(findings.production > 50 && findings.all > findings.production)
})

t.test('a broken rule is named', async (t) => {
  const good: LockEntry = { version: '1.0.0', integrity: 'sha512-x', license: 'MIT' }
  const check = (entry: LockEntry, manifest: Manifest = {}, rc = npmrc) =>
    checkDependencies(manifest, { lockfileVersion: 3, packages: { '': {}, 'node_modules/@a/b': entry } }, rc)
      .violations
  t.same(check(good), [])
  t.same(check({ ...good, license: '(GPL-2.0 OR MIT)' }), [], 'one of several is enough')
  t.same(check({ ...good, license: 'MIT AND Apache-2.0' }), [])
  t.same(check({ dev: true, license: 'GPL-3.0' }), [], 'tests may use what is not shipped')
  const broken: [RegExp, string[]][] = [
    [/@a\/b comes from git\+ssh/, check({ ...good, resolved: 'git+ssh://git@github.com/a/b.git#1' })],
    [
      /@a\/b comes from https:\/\/evil/,
      check({ ...good, resolved: 'https://evil.example/b.tgz', dev: true }),
    ],
    [
      /@a\/b comes from https:\/\/registry\.npmjs\.org\.evil/,
      check({ ...good, resolved: 'https://registry.npmjs.org.evil/' }),
    ],
    [/@a\/b is a link/, check({ ...good, link: true })],
    [/no SHA-512/, check({ ...good, integrity: 'sha1-x' })],
    [/licence GPL-3\.0/, check({ ...good, license: 'GPL-3.0' })],
    [/licence MIT AND GPL-3\.0/, check({ ...good, license: 'MIT AND GPL-3.0' })],
    [/licence none stated/, check({ version: '1.0.0', integrity: 'sha512-x' })],
    [/install script/, check({ ...good, hasInstallScript: true, dev: true })],
    [/c is asked for as \^1\.0\.0/, check(good, { dependencies: { c: '^1.0.0' } })],
    [/c is asked for as github:a\/c/, check(good, { devDependencies: { c: 'github:a/c' } })],
    [/ignore-scripts/, check(good, {}, 'ignore-scripts=false\n')],
  ]
  for (const [message, violations] of broken) {
    t.match(violations, [message])
    t.equal(violations.length, 1, String(message))
  }
})
