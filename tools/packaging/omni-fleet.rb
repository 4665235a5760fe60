# A Homebrew formula. Not tried: no machine with Homebrew was at hand.
#
# Of each release: url and sha256 of the sdist (dist/SHA256SUMS), then
# `brew update-python-resources omni-fleet` writes a resource for each library.
class OmniFleet < Formula
  include Language::Python::Virtualenv

  desc "Fleet management for AI models, in the terminal"
  url "RELEASE_URL/omni_fleet-0.1.0.tar.gz"
  sha256 "SHA256_OF_IT"
  license "MIT"

  depends_on "cryptography"
  depends_on "libyaml"
  depends_on "python@3.13"

  def install
    virtualenv_install_with_resources
    man1.install_symlink libexec/"share/man/man1/omni.1"
    bash_completion.install_symlink libexec/"share/bash-completion/completions/omni"
    zsh_completion.install_symlink libexec/"share/zsh/site-functions/_omni"
    fish_completion.install_symlink libexec/"share/fish/vendor_completions.d/omni.fish"
  end

  test do
    ENV["OMNI_HOME"] = testpath
    assert_match version.to_s, shell_output("#{bin}/omni --version")
    assert_match "priced", shell_output("#{bin}/omni models show openai/gpt-5.5 --json")
  end
end
