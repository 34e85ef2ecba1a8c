/** The commands of docs/clients.md, as they stand there, print what stands there. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { runCommand } from './run-command.js'
import { domainsCommand } from '../src/commands/remote/domains.js'
import { predictCommand } from '../src/commands/remote/predict.js'
import { ONE_FAMILY } from './service-process.js'
import { runService } from './service-rig.js'

const CALL = 'npm run --silent facet -- '
const commands = { predict: predictCommand, domains: domainsCommand }

t.test('commands and what they print', async (t) => {
  const { url } = await runService(t, [...ONE_FAMILY, '--data', t.testdir()])
  const page = readFileSync('docs/clients.md', 'utf8')
  const pairs = [...page.matchAll(/^```sh\n([\s\S]*?)^```\n\n```text\n([\s\S]*?)^```/gm)]
  t.equal(pairs.length, 3)
  t.intercept(process, 'env', { value: { FACET_CLIENT_URL: url, XDG_CONFIG_HOME: t.testdirName } })
  for (const [, block, expected] of pairs) {
    const calls = block!.trim().split('\n')
    for (const line of calls) t.ok(line.startsWith(CALL), line)
    const printed = t.capture(process.stdout, 'write', () => true)
    let errors = ''
    for (const line of calls) {
      const [name, ...words] = line.slice(CALL.length).split(' ')
      errors += (await runCommand(commands[name as keyof typeof commands](), ...words)).error
    }
    const text = printed()
      .map(({ args }) => String(args[0]))
      .join('')
    printed.restore()
    t.equal(errors, '')
    t.equal(withoutScores(text), withoutScores(expected!))
  }
})

/** Scores differ a little between the decoders of JPEGs, and between processors. */
function withoutScores(text: string): string {
  return text.replace(/\b0\.\d{4,}/g, '0.#')
}
